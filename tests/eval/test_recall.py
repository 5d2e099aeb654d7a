"""Recall, rolling context and noise: the arithmetic, and the real model through the commands."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from scipy.stats import binomtest

from edge_audiokv.cli.evaluate.context import recall_lines, sound_files
from edge_audiokv.cli.evaluate.group import evaluate
from edge_audiokv.errors import InputError
from edge_audiokv.eval.recall import Reply, draw_join, summarise, wilson
from edge_audiokv.eval.rolling import paired_rise
from edge_audiokv.eval.wer import Hypothesis, Utterance, score_clip

CLIPS = Path(__file__).resolve().parents[1] / "data" / "manifest.jsonl"


@pytest.mark.parametrize(("right", "tries"), [(0, 7), (3, 7), (40, 40), (1, 200)])
def test_wilson_is_the_textbook_interval(right: int, tries: int) -> None:
    expected = binomtest(right, tries).proportion_ci(0.95, method="wilson")
    assert wilson(right, tries) == pytest.approx((expected.low, expected.high), abs=1e-3)


def test_a_join_is_just_long_enough_and_holds_no_clip_twice() -> None:
    durations_s = [4.0, 9.0, 2.0, 7.0, 12.0]
    for seed in range(20):
        group, total_s = draw_join(durations_s, 15.0, random.Random(seed))
        assert len(set(group)) == len(group)
        assert total_s == sum(durations_s[i] for i in group) >= 15.0
        assert total_s - durations_s[group[-1]] < 15.0


def test_a_join_longer_than_all_clips_holds_each_equally_often() -> None:
    durations_s = [4.0, 9.0, 2.0, 7.0, 12.0]
    group, total_s = draw_join(durations_s, 110.0, random.Random(3))
    times = Counter(group)
    assert set(times) == set(range(5)) and max(times.values()) - min(times.values()) <= 1
    assert total_s == sum(durations_s[i] for i in group) >= 110.0
    assert total_s - durations_s[group[-1]] < 110.0
    # Each round has an order of its own.
    assert group[:5] != group[5:10]
    assert draw_join([], 10.0, random.Random(0)) == ([], 0.0)


def test_scores_are_told_apart_by_kind_and_by_noise() -> None:
    def reply(kind: str, right: bool, deaf: bool) -> Reply:
        return Reply(kind, "?", "yes", "yes", "no", right, deaf, 0.5, 30.0)

    scores = summarise(
        [reply("first", True, False), reply("mentioned", True, True), reply("first", False, False)]
    )
    assert [(s.kind, s.tries, s.right, s.deaf) for s in scores] == [
        ("first", 2, 0.5, 0.0),
        ("mentioned", 1, 1.0, 1.0),
    ]
    assert scores[1].chance == 0.5 and scores[0].chance is None
    assert recall_lines(scores)[1].split()[:3] == ["first", "2", "50.0%"]


def test_found_sentences_are_counted_beside_right_ones() -> None:
    def reply(found: bool, found_deaf: bool) -> Reply:
        return Reply("last", "?", "a", "b", "c", False, False, 1.0, 30.0, 8, found, found_deaf)

    (score,) = summarise([reply(True, False), reply(True, True), reply(False, False)])
    assert (score.right, score.found, score.found_deaf) == (0.0, 2 / 3, 1 / 3)
    assert (score.found_low, score.found_high) == wilson(2, 3)
    assert recall_lines([score])[1].split()[-4:] == ["66.7%", "21%-94%", "33.3%", "12%"]
    (other,) = summarise([Reply("earlier", "?", "a", "b", "c", False, False, 1.0, 30.0, 8)])
    assert other.found is None and recall_lines([other])[1].split()[-1] == "50%"


def test_the_rise_is_paired() -> None:
    def score(said: str, heard: str):  # type: ignore[no-untyped-def]
        return score_clip(Utterance("x", Path("x"), said, ""), Hypothesis(heard))

    fresh = [score("red green blue grey", "red green blue grey"), score("black white", "black")]
    rolled = [score("red green blue grey", "red green blue"), score("black white", "black")]
    rise, low, high = paired_rise(fresh, rolled)
    assert rise == pytest.approx(1 / 6) and low == 0.0 and high == pytest.approx(1 / 4)


def test_folders_give_their_sound_files_in_order(tmp_path: Path) -> None:
    for name in ("b.wav", "a.flac", "notes.txt"):
        (tmp_path / name).touch()
    assert [f.name for f in sound_files([tmp_path])] == ["a.flac", "b.wav"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no sound files"):
        sound_files([tmp_path / "empty"])


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["recall", "--kinds", "first,smell"], "smell"),
        (["recall", "--seconds", "500"], "All clips together"),
        (["rolling", "--context-s", "5000"], "less than"),
    ],
)
@pytest.mark.integration
def test_what_cannot_be_asked_is_told(arguments: list[str], complaint: str) -> None:
    command = [arguments[0], "--manifest", str(CLIPS), *arguments[1:]]
    result = CliRunner().invoke(evaluate, command)
    assert isinstance(result.exception, InputError) and complaint in str(result.exception)


@pytest.mark.parametrize("seconds", ["-1", "0", "600", "nan"])
def test_a_length_that_cannot_be_is_a_wrong_option(seconds: str) -> None:
    result = CliRunner().invoke(
        evaluate, ["recall", "--manifest", str(CLIPS), "--seconds", seconds]
    )
    assert result.exit_code == 2 and "--seconds" in result.output


@pytest.mark.integration
@pytest.mark.parametrize("turns", [False, True])
def test_the_default_model_is_asked_with_sound_and_with_noise(turns: bool) -> None:
    options = ["--seconds", "4", "--joins", "2", "--kinds", "first,mentioned", "--json"]
    options += ["--turns"] * turns
    result = CliRunner().invoke(evaluate, ["recall", "--manifest", str(CLIPS), *options])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert {score["kind"] for score in found["scores"]} <= {"first", "mentioned"}
    first = [reply for reply in found["replies"] if reply["kind"] == "first"]
    assert len(first) == 2 and all(reply["heard"] != reply["deaf"] for reply in first)
    assert found["turns"] is turns


@pytest.mark.integration
def test_rolling_and_fresh_are_scored_on_the_same_clips() -> None:
    options = ["--context-s", "1", "--limit", "3", "--json"]
    result = CliRunner().invoke(evaluate, ["rolling", "--manifest", str(CLIPS), *options])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["fresh"]["clips"] == found["rolling"]["clips"] == 2
    assert found["fresh"]["words"] == found["rolling"]["words"] > 5
    assert found["fresh"]["wer"] < 0.6
    difference = found["rolling"]["wer"] - found["fresh"]["wer"]
    assert found["rise"] == pytest.approx(difference)


@pytest.mark.integration
def test_noise_is_counted_clip_by_clip(tmp_path: Path) -> None:
    hiss = np.random.default_rng(0).standard_normal(32000).astype(np.float32) * 0.02
    soundfile.write(tmp_path / "hiss.wav", hiss, 16000)
    soundfile.write(tmp_path / "silence.wav", np.zeros(32000, np.float32), 16000)
    result = CliRunner().invoke(evaluate, ["noise", str(tmp_path), "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["clips"] == 2 and found["with_words"] == len(found["texts"]) <= 2
    assert found["low"] <= found["share"] <= found["high"]
