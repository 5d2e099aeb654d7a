"""`edge-audiokv ask`: a recording and questions about it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from edge_audiokv.cli.main import main

pytestmark = pytest.mark.integration
CLIP = Path(__file__).parents[1] / "data" / "two_sentences.flac"


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
    assert 0 < document["rss_bytes"] < document["cap_bytes"]


def test_answers_do_not_depend_on_the_questions_before(capsys) -> None:
    _, both, _ = run(capsys, CLIP, "Who waited?", "What was late?", "--context", "rolling")
    lines = both.splitlines()
    assert lines[0] == "Q: Who waited?" and lines[2] == "Q: What was late?"
    _, alone, _ = run(capsys, CLIP, "What was late?", "--context", "rolling")
    assert lines[3] == f"A: {alone.strip()}"


def test_silence_is_said_and_still_answered(capsys, tmp_path) -> None:
    path = tmp_path / "silence.wav"
    soundfile.write(path, np.zeros(16_000, np.float32), 16_000)
    code, _, err = run(capsys, path, "What was said?")
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
        (CLIP, "  ", 3, "question is empty"),
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
