"""`edge-audiokv eval wer`: what it prints, and the whole way with the real default model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from edge_audiokv.cli.evaluate.group import evaluate, report_lines
from edge_audiokv.errors import InputError
from edge_audiokv.eval import wer
from edge_audiokv.eval.anchor import NAME as ANCHOR_NAME
from edge_audiokv.eval.wer import Hypothesis, Utterance

CLIPS = Path(__file__).resolve().parents[2] / "data" / "manifest.jsonl"


def report(name: str, *heard: tuple[str, str, str]) -> wer.WerReport:
    scores = [
        wer.score_clip(Utterance("x", Path("x"), said, who), Hypothesis(text), audio_s=2.0)
        for who, said, text in heard
    ]
    return wer.summarise(name, scores)


def test_reports_stand_side_by_side_with_a_line_a_speaker() -> None:
    ours = report("ours", ("ann", "red green blue grey", "red green blue"), ("bob", "red", "red"))
    other = report("other", ("ann", "red green blue grey", "red"), ("bob", "red", "red"))
    lines = report_lines([ours, other])
    assert lines[0] == "2 clips, 0.1 min, 5 words"
    assert lines[2].split()[:2] == ["ours", "20.0%"]
    assert lines[3].split()[:2] == ["other", "60.0%"]
    assert lines[4] == "  ann: ours 25.0%  other 75.0%"


@pytest.mark.parametrize("name", ["smollm2-audio", ANCHOR_NAME, "/home/me/models/my-own-model"])
def test_a_report_fits_eighty_columns(name: str) -> None:
    worst = report(name, ("ann", "red " * 9999, "a " * 20000))
    _, head, *rest = report_lines([worst])
    assert all(len(line) < 80 for line in (head, *rest)), rest
    assert " ".join(rest).split()[0] == name and rest[-1].endswith("0.000")
    # Figures stand under what they are.
    assert len(rest[-1]) == len(head) and head.endswith("RTF")


def test_wrong_options_are_usage_errors(tmp_path: Path) -> None:
    for args in (["wer"], ["wer", "--manifest", str(tmp_path / "none")]):
        result = CliRunner().invoke(evaluate, args)
        assert result.exit_code == 2 and "--manifest" in result.stderr
    result = CliRunner().invoke(evaluate, ["wer", "--manifest", str(CLIPS), "--speaker", "nobody"])
    assert isinstance(result.exception, InputError)


def test_either_part_alone_is_measured_of_whole_clips() -> None:
    result = CliRunner().invoke(evaluate, ["wer", "--manifest", str(CLIPS), "--ablate"])
    assert result.exit_code == 2 and "--whole-clips" in result.stderr


@pytest.mark.integration
def test_both_parts_hear_more_than_the_llm_alone() -> None:
    args = ["wer", "--manifest", str(CLIPS), "--threads", "1", "--json", "--whole-clips"]
    result = CliRunner().invoke(evaluate, [*args, "--ablate"], catch_exceptions=False)
    both, encoder, llm = json.loads(result.stdout)
    assert [each["name"] for each in (encoder, llm)] == ["encoder alone", "LLM alone"]
    assert max(both["wer"], encoder["wer"]) < llm["wer"] < 0.5


@pytest.mark.integration
@pytest.mark.parametrize("options", [[], ["--whole-clips", "--kv-budget", "100%"]])
def test_the_default_model_hears_most_words(options: list[str]) -> None:
    args = ["wer", "--manifest", str(CLIPS), "--limit", "2", "--threads", "1", "--json", *options]
    result = CliRunner().invoke(evaluate, args, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    (found,) = json.loads(result.stdout)
    assert found["clips"] == 2 and found["words"] > 15
    # Chance is above 100 %: only a model that hears gets here.
    assert found["wer"] < 0.5
    assert found["wer_low"] <= found["wer"] <= found["wer_high"]
    assert found["compute_s"] > 0 and found["audio_s"] > 5
