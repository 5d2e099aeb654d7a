"""`edge-audiokv ask`: a recording and questions about it."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from edge_audiokv.cli.main import main
from edge_audiokv.cli.speech.ask import _Growing
from edge_audiokv.engine.hearing import NOTHING_HEARD
from edge_audiokv.engine.memory.rolling import RollingMemory
from edge_audiokv.engine.session import Session

pytestmark = pytest.mark.integration
CLIP = Path(__file__).parents[2] / "data" / "two_sentences.flac"


def run(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit:
        main(["ask", *map(str, args), "--threads", "1"])
    out, err = capsys.readouterr()
    assert isinstance(exit.value.code, int)
    return exit.value.code, out, err


def test_json_has_the_text_and_an_answer_for_each_question(capsys) -> None:
    code, out, err = run(capsys, CLIP, "What was late?", "Where did we wait?", "--json")
    document = json.loads(out)
    assert code == 0 and err == ""
    assert [answer["question"] for answer in document["answers"]] == [
        "What was late?",
        "Where did we wait?",
    ]
    assert all(isinstance(answer["text"], str) for answer in document["answers"])
    assert "train" in document["segments"][0]["text"]
    assert 5.9 < document["duration_s"] < 6.1
    told = [document[name] for name in ("file", "model", "quantisation", "language")]
    assert told == [str(CLIP), "smollm2-audio", "q8_0", "en"]
    assert 0 < document["rss_bytes"] < document["cap_bytes"]


def test_answers_do_not_depend_on_the_questions_before(capsys) -> None:
    _, both, _ = run(capsys, CLIP, "Who waited?", "What was late?", "--context", "rolling")
    lines = both.splitlines()
    assert lines[0] == "Q: Who waited?" and lines[2] == "Q: What was late?"
    _, alone, _ = run(capsys, CLIP, "What was late?", "--context", "rolling")
    assert lines[3] == f"A: {alone.strip()}"


@pytest.mark.parametrize("kind", ["silence", "pink noise"])
def test_where_nobody_speaks_no_model_answers(capsys, tmp_path, monkeypatch, kind) -> None:
    noise = np.random.default_rng(7).normal(size=64_000)
    spectrum = np.fft.rfft(noise)
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    pink = np.fft.irfft(spectrum)
    samples = np.zeros(16_000) if kind == "silence" else 0.1 * pink / np.abs(pink).max()
    path = tmp_path / "nobody.wav"
    soundfile.write(path, samples.astype(np.float32), 16_000)

    def asked(*_args, **_options):
        raise AssertionError("a model was asked")

    monkeypatch.setattr(RollingMemory, "ask", asked)
    code, out, err = run(capsys, path, "What was said?", "--format", "json")
    (answer,) = json.loads(out)["answers"]
    told = {name: answer[name] for name in ("question", "text", "heard", "sources")}
    assert told == {
        "question": "What was said?",
        "text": NOTHING_HEARD,
        "heard": False,
        "sources": [],
    }
    assert code == 0 and "no speech was found" in err


def test_a_recording_may_come_through_a_pipe(capsys, monkeypatch) -> None:
    with CLIP.open("rb") as pipe:
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=pipe))
        code, out, _ = run(capsys, "-", "What was late?", "--json")
    assert code == 0 and "train" in json.loads(out)["segments"][0]["text"]


@pytest.mark.parametrize(
    ("file", "question", "code", "words"),
    [
        ("missing.wav", "What?", 3, "There is no file"),
        (CLIP, "  ", 2, "question is empty"),
        (CLIP, "why " * 200, 3, "fewer words"),
    ],
)
def test_what_cannot_be_asked_is_one_line_and_a_code(capsys, file, question, code, words) -> None:
    found, out, err = run(capsys, file, question)
    assert (found, out) == (code, "")
    assert words in err and len(err.splitlines()) == 1


def test_no_question_is_wrong_usage(capsys) -> None:
    code, _, err = run(capsys, CLIP)
    assert code == 2 and "QUESTION" in err


def test_an_answer_grows_on_a_terminal_and_is_the_same_in_the_end(capsys) -> None:
    growing = _Growing()
    told = ["A tra", "A train w", "A train w\ufffd", "A train wä", "A train wär"]
    for text in told:
        growing.show(text)
        assert capsys.readouterr().out in ("A tra", "in w", "", "ä", "r")
    growing.end("A train wäre.", " (00:00:07)")
    assert capsys.readouterr().out == "e. (00:00:07)\n"
    growing = _Growing()
    growing.show("one")
    growing.end("another\x1b[2J", "")
    assert capsys.readouterr().out == "one\nanother\\x1b[2J\n"


def test_a_session_tells_an_answer_while_it_grows() -> None:
    grown: list[str] = []
    with Session(threads=1, report_interval_s=0.0) as session:
        assert not session.ask("What was late?", on_text=grown.append).heard
        assert grown == []
        session.feed(soundfile.read(str(CLIP), dtype="float32")[0], live=False)
        session.finish()
        answer = session.ask("What was late?", on_text=grown.append)
    assert answer.heard and grown[-1] == answer.text
    assert all(later.startswith(text) for text, later in itertools.pairwise(grown))
