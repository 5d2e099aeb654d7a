"""How often a phrase was written, and what repeating it costs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_audiokv.cli.evaluate.repeats import report_lines
from edge_audiokv.errors import InputError
from edge_audiokv.eval.repeats.score import evaluate, read_joins, rounds_written
from edge_audiokv.eval.wer import Hypothesis

BEFORE, PHRASE, AFTER = "some were scarlet", "nobody could say why", "then winter began"


def parts(times: int) -> list[str]:
    return [BEFORE, *[PHRASE] * times, AFTER]


@pytest.mark.parametrize("said", [2, 3, 4])
@pytest.mark.parametrize("written", range(7))
def test_rounds_are_counted(said: int, written: int) -> None:
    assert rounds_written(parts(said), " ".join(parts(written))) == written


@pytest.mark.parametrize(
    "text",
    [
        "some scarlet nobody could say nobody good say why then winter began",
        "some were scarlet to nobody could say why to nobody could say why to then winter",
    ],
)
def test_misheard_words_change_no_count(text: str) -> None:
    assert rounds_written(parts(2), text) == 2


def test_half_a_round_and_an_empty_text_are_not_right() -> None:
    assert rounds_written(parts(2), f"{BEFORE} {PHRASE} nobody could {AFTER}") != 2
    assert rounds_written(parts(2), "") == 0


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    lines = [
        {
            "id": f"join{times}",
            "path": f"join{times}.flac",
            "text": " ".join(parts(times)),
            "times": times,
            "parts": [
                {"path": f"{(BEFORE, PHRASE, AFTER).index(text)}.flac", "text": text}
                for text in parts(times)
            ],
        }
        for times in (2, 3)
    ]
    path = tmp_path / "manifest.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def test_a_report_sets_joins_against_their_parts(manifest: Path) -> None:
    joins = read_joins(manifest)
    asked: list[str] = []

    def transcribe(path: Path) -> Hypothesis:
        asked.append(path.name)
        if path.name == "join3.flac":
            return Hypothesis(" ".join(parts(2)), ("loop",))
        known = {join.clip.path: join.clip.text for join in joins}
        known |= {part.path: part.text for join in joins for part in join.parts}
        return Hypothesis(known[path])

    report = evaluate(joins, transcribe)
    assert (report.joins, report.right, report.by_times) == (2, 1, {2: (1, 1), 3: (0, 1)})
    assert report.wer == pytest.approx(4 / (14 + 18)) and report.alone_wer == 0
    assert report.rise == pytest.approx(report.wer)
    assert report.rise_low <= report.rise <= report.rise_high
    assert report.flags == {"loop": 1}
    assert len(asked) == len(set(asked)), "no part is heard twice"
    text = "\n".join(report_lines(report))
    assert "1 written as often as said: 50.0%" in text and "said 3 times: 0 of 1" in text


@pytest.mark.parametrize(
    "line", ["", "no json", "{}", '{"id": 1, "path": "a", "text": "b", "times": 9, "parts": []}']
)
def test_what_is_no_manifest_of_repeats_is_told(tmp_path: Path, line: str) -> None:
    path = tmp_path / "manifest.jsonl"
    path.write_text(line)
    with pytest.raises(InputError):
        read_joins(path)
