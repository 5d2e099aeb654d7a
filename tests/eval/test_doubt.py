"""What is admitted and what is refused: how it is counted, and the real model by the command."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from edge_audiokv.cli.evaluate.doubt import doubt_lines
from edge_audiokv.cli.evaluate.group import evaluate
from edge_audiokv.errors import InputError
from edge_audiokv.eval.doubt import Doubt, Known, doubt_known, read_known, summarise
from edge_audiokv.eval.recall import wilson
from edge_audiokv.eval.wer import Utterance
from edge_audiokv.events import Answer

CLIPS = Path(__file__).resolve().parents[1] / "data" / "manifest.jsonl"
CODES = CLIPS.parent / "codes" / "manifest.jsonl"


def doubt(kind: str, *, said: bool, declined: bool, right: bool = False) -> Doubt:
    return Doubt(kind, "What?", said, "this", declined, right)


def test_refusals_and_inventions_are_counted_apart() -> None:
    rows = summarise(
        [
            doubt("code", said=True, declined=False, right=True),
            doubt("code", said=True, declined=True),
            doubt("code", said=False, declined=True),
            doubt("fact", said=False, declined=False),
        ]
    )
    shares = [(row.kind, row.said, row.refused, row.right) for row in rows]
    assert shares == [("code", 2, 0.5, 0.5), ("fact", 0, 0.0, 0.0), ("all", 2, 0.5, 0.5)]
    assert [(row.unsaid, row.answered) for row in rows] == [(1, 0.0), (1, 1.0), (2, 0.5)]
    assert (rows[0].refused_low, rows[0].refused_high) == wilson(1, 2)
    assert doubt_lines(rows)[3].split()[:3] == ["all", "2", "50%"]


@pytest.mark.parametrize(
    "line", ['{"question": "a?"}', '{"question": "a?", "accept": "b", "utterances": ["c"]}']
)
def test_a_line_that_is_no_question_is_told(tmp_path: Path, line: str) -> None:
    good = '{"question": "a?", "accept": ["b"], "utterances": ["c"]}'
    (tmp_path / "known.jsonl").write_text(f"{good}\n{line}\n")
    with pytest.raises(InputError, match="line 2"):
        read_known(tmp_path / "known.jsonl")


def test_turns_are_needed_to_be_brought_back() -> None:
    for command in (["recall"], ["codes", "--codes", str(CODES)]):
        ran = CliRunner().invoke(evaluate, [*command, "--manifest", str(CLIPS), "--recall"])
        assert ran.exit_code == 2 and "--turns" in ran.output


@pytest.mark.integration
def test_the_default_model_admits_what_it_did_not_hear(tmp_path: Path) -> None:
    known = {"question": "What was late?", "accept": ["train"], "utterances": ["garden"]}
    (tmp_path / "known.jsonl").write_text(json.dumps(known))
    options = ["--seconds", "3", "--joins", "2", "--questions", "1", "--json"]
    options += ["--known", str(tmp_path / "known.jsonl")]
    command = ["doubt", "--manifest", str(CLIPS), "--codes", str(CODES), *options]
    result = CliRunner().invoke(evaluate, command)
    assert result.exit_code == 0, result.output
    answers = json.loads(result.stdout)["answers"]
    assert [(a["kind"], a["said"]) for a in answers] == [
        ("code", True),
        ("sentence", True),
        ("sentence", False),
        ("code", False),
        ("sentence", True),
        ("sentence", False),
        ("fact", True),
    ]
    # No code was said in the second join, and no sentence has the words that were not.
    assert all(a["declined"] for a in answers if not a["said"]), answers


@pytest.mark.parametrize(
    ("answer", "accept", "right"),
    [
        ("eighteen oh three", "1803", True),
        ("poor Richard's cravats", "Richard", True),
        ("three sons", "3", True),
        ("thirteen sons", "3", False),
        ("richardson's cravats", "Richard", False),
    ],
)
def test_a_fact_is_judged_as_words_are_counted(answer: str, accept: str, right: bool) -> None:
    clip = Utterance("a", CLIPS.parent / "letter.flac", "", "")
    context = SimpleNamespace(
        hear=lambda samples: samples,
        listen=lambda sounds: None,
        answer=lambda question: Answer(question, answer, 0.0),
    )
    told: list[Doubt] = []
    doubt_known(context, [clip], [Known("?", (accept,), ("a",))], on_doubt=told.append)  # type: ignore[arg-type]
    assert [each.right for each in told] == [right]
