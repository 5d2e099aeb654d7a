"""Hidden codes: how they are counted and drawn, and the real model through the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from edge_audiokv.cli.evaluate.codes import codes_lines
from edge_audiokv.cli.evaluate.group import evaluate
from edge_audiokv.encoder.sound import Sound
from edge_audiokv.errors import InputError, MemoryBudgetError, OutputError
from edge_audiokv.eval.codes import (
    CodeReply,
    cells,
    count_replies,
    digits_of,
    longest_window_s,
    tasks_of,
)
from edge_audiokv.eval.long_context import Conversation, LongContext
from edge_audiokv.eval.plots.codes import plot_codes
from edge_audiokv.eval.recall import wilson
from edge_audiokv.eval.wer import Utterance
from edge_audiokv.kv.placements import DEFAULT_PLACEMENT

CLIPS = Path(__file__).resolve().parents[1] / "data" / "manifest.jsonl"
CODES = CLIPS.parent / "codes" / "manifest.jsonl"


def reply(seconds: float, depth: float, right: bool) -> CodeReply:
    return CodeReply(seconds, depth, "123", "123" if right else "9", right)


def test_the_encoder_is_asked_for_no_more_than_the_longest_clip(tmp_path: Path) -> None:
    def clip(seconds: float) -> Utterance:
        path = tmp_path / f"{seconds}.wav"
        soundfile.write(path, np.zeros(int(seconds * 16_000)), 16_000)
        return Utterance("x", path, "x", "x")

    assert longest_window_s([clip(2), clip(7.5), clip(3)]) == 7.5
    assert longest_window_s([clip(2), clip(40)]) == 30.0
    other = tmp_path / "x.mp4"
    other.write_bytes(b"no sound that soundfile knows")
    assert longest_window_s([clip(2), Utterance("x", other, "x", "x")]) == 30.0


def test_replies_are_counted_by_length_and_depth() -> None:
    replies = [reply(60, 0, True), reply(60, 1, False), reply(60, 0, False), reply(0, 0, True)]
    found = cells(replies)
    assert [(c.seconds, c.depth, c.tries, c.right) for c in found] == [
        (0, 0, 1, 1.0),
        (60, 0, 2, 0.5),
        (60, 1, 1, 0.0),
    ]
    assert (found[1].right_low, found[1].right_high) == wilson(1, 2)
    lines = codes_lines(found)
    assert lines[1].split()[:4] == ["alone", "-", "1", "100%"]
    assert lines[2].split()[:5] == ["60", "s", "0%", "2", "50%"]


def test_a_clip_without_a_code_is_named() -> None:
    good = Utterance("a", Path("a"), "My code is four, zero, nine!", "")
    assert digits_of([good]) == ["409"]
    with pytest.raises(InputError, match="b says no code"):
        digits_of([good, Utterance("b", Path("b"), "four zero nine", "")])


def clip(name: str, text: str) -> Utterance:
    return Utterance(name, Path(name), text, "")


def test_codes_of_places_are_asked_for_by_place_if_each_has_its_own() -> None:
    kitchen = clip("a", "Remember, the code of the kitchen is one, two, three!")
    garage = clip("b", "The code of the garage is three two one.")
    assert [(task.question, task.answer) for task in tasks_of([kitchen, garage])] == [
        ("What is the code of the kitchen?", "123"),
        ("What is the code of the garage?", "321"),
    ]
    for others in ([kitchen], [clip("c", "The code is nine nine nine.")]):
        mixed = [kitchen, garage, *others]
        assert {task.question for task in tasks_of(mixed)} == {"What is the code?"}


def of_places(folder: Path) -> Path:
    """The codes as if each were a place's, so that they are told apart."""
    places, lines = iter(("kitchen", "garage")), []
    for line in CODES.read_text(encoding="utf-8").splitlines():
        data = json.loads(line)
        digits = " ".join(data["text"].split()[-4:])
        text = f"the code of the {next(places)} is {digits}"
        lines.append(json.dumps({"path": str(CODES.parent / data["path"]), "text": text}))
    (folder / "places.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder / "places.jsonl"


def run_codes(monkeypatch: pytest.MonkeyPatch, codes: Path, depths: int) -> list[list[int]]:
    """What was heard in each join, by identity: `depths` and two tries of four seconds."""
    joins: list[list[int]] = []
    listen = Conversation.listen

    def count(context: Conversation, sounds: list[Sound]) -> None:
        joins.append([id(sound) for sound in sounds])
        listen(context, sounds)

    monkeypatch.setattr(Conversation, "listen", count)
    options = ["--manifest", str(CLIPS), "--codes", str(codes), "--turns", "--seconds", "4"]
    options += ["--depths", str(depths), "--tries", "2", "--json"]
    result = CliRunner().invoke(evaluate, ["codes", *options], catch_exceptions=False)
    found = json.loads(result.stdout)
    assert len(found["replies"]) == count_replies(2, 1, depths, 2)
    return joins


@pytest.mark.integration
def test_a_join_hides_codes_of_places_at_every_depth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, alone_too, first, second = run_codes(monkeypatch, of_places(tmp_path), 2)
    codes = {*alone, *alone_too}
    assert {first[0], first[-1]} == {second[0], second[-1]} == codes
    # One at a time if they cannot be told apart.
    monkeypatch.undo()
    alone, alone_too, *joins = run_codes(monkeypatch, CODES, 2)
    assert [len({*alone, *alone_too} & set(join)) for join in joins] == [1, 1, 1, 1]


@pytest.mark.integration
def test_more_depths_than_places_are_refused_at_once(tmp_path: Path) -> None:
    command = ["codes", "--manifest", str(CLIPS), "--codes", str(of_places(tmp_path)), "--turns"]
    result = CliRunner().invoke(evaluate, [*command, "--seconds", "4", "--depths", "3"])
    assert isinstance(result.exception, InputError)
    assert "--depths 2" in result.exception.cure


def test_the_map_is_drawn_or_nothing_is_left(tmp_path: Path) -> None:
    found = cells([reply(0, 0, True), reply(60, 0, True), reply(300, 0.5, False)])
    plot_codes(found, tmp_path / "map.png")
    assert (tmp_path / "map.png").stat().st_size > 5000
    with pytest.raises(OutputError, match="Cannot write"):
        plot_codes(found, tmp_path / "nowhere" / "map.png")
    assert [file.name for file in tmp_path.iterdir()] == ["map.png"]


@pytest.mark.integration
@pytest.mark.parametrize(("turns", "budget"), [(False, "100%"), (True, "95%")])
def test_the_default_model_is_asked_for_codes(turns: bool, budget: str) -> None:
    options = ["--seconds", "4", "--depths", "2", "--tries", "1", "--kv-budget", budget, "--json"]
    options += ["--turns", "--placement", "log"] * turns
    command = ["codes", "--manifest", str(CLIPS), "--codes", str(CODES), *options]
    result = CliRunner().invoke(evaluate, command)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["turns"] is turns
    assert found["placement"] == ("log" if turns else DEFAULT_PLACEMENT)
    assert len(found["replies"]) == count_replies(2, 1, 2, 1) == 4
    assert {r["wanted"] for r in found["replies"]} == {"1588", "0753"}
    assert [(r["seconds"], r["depth"]) for r in found["replies"]] == [
        (0, 0),
        (0, 0),
        (4, 0),
        (4, 1),
    ]
    assert all(r["right"] == (r["heard"] == r["wanted"]) for r in found["replies"])


@pytest.mark.integration
def test_clips_come_again_in_a_long_join_if_they_may() -> None:
    command = ["codes", "--manifest", str(CLIPS), "--codes", str(CODES), "--limit", "1", "--turns"]
    command += ["--seconds", "20", "--depths", "2", "--tries", "1", "--json"]
    refused = CliRunner().invoke(evaluate, command)
    assert isinstance(refused.exception, InputError)
    assert "--repeat-clips" in str(refused.exception)
    result = CliRunner().invoke(evaluate, [*command, "--repeat-clips"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["repeat_clips"] is True
    assert [r["seconds"] for r in found["replies"]] == [0, 0, 20, 20]


@pytest.mark.integration
@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--seconds", "300", "--turns"], InputError),
        (["--seconds", "1200"], InputError),
        (["--kv-budget", "20%"], MemoryBudgetError),
        # Room for a turn, what is brought back, a question and its answer.
        (["--turns", "--recall", "--kv-budget", "50%"], MemoryBudgetError),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_asked(
    options: list[str], error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def listen(*_: object) -> None:
        raise AssertionError("a join was heard")

    monkeypatch.setattr(LongContext, "listen", listen)
    monkeypatch.setattr(Conversation, "listen", listen)
    command = ["codes", "--manifest", str(CLIPS), "--codes", str(CODES), "--seconds", "4"]
    result = CliRunner().invoke(evaluate, [*command, *options])
    assert isinstance(result.exception, error)
    if isinstance(result.exception, MemoryBudgetError):
        # The share that it names is enough.
        share = result.exception.cure.split()[2]
        options[options.index("--kv-budget") + 1] = share
        result = CliRunner().invoke(evaluate, [*command, *options])
        assert isinstance(result.exception, AssertionError), share
