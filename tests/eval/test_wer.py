"""Word error rates: counts by hand, normalisation, intervals, manifests, the real path's joints."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from edge_audiokv.errors import InputError
from edge_audiokv.eval import wer
from edge_audiokv.eval.wer import Hypothesis, Utterance
from edge_audiokv.events import Final

words = st.lists(st.sampled_from(["a", "b", "c", "dog"]), max_size=12)


def clip(text: str, speaker: str = "s", name: str = "x") -> Utterance:
    return Utterance(name, Path(f"{name}.wav"), text, speaker)


@pytest.mark.parametrize(
    ("reference", "heard", "counts"),
    [
        ("the cat sat", "the cat sat", (0, 0, 0)),
        ("the cat sat", "the dog sat", (1, 0, 0)),
        ("the cat sat", "the sat", (0, 1, 0)),
        ("the cat sat", "the black cat sat down", (0, 0, 2)),
        ("the cat sat", "", (0, 3, 0)),
        ("", "thanks for watching", (0, 0, 3)),
        ("", "", (0, 0, 0)),
        ("MR. SMITH'S COLOUR", "mister smith's color", (0, 0, 0)),
        ("EIGHTEEN O THREE", "1803", (0, 0, 0)),
    ],
)
def test_edits_are_counted_after_normalising(
    reference: str, heard: str, counts: tuple[int, int, int]
) -> None:
    score = wer.score_clip(clip(reference), Hypothesis(heard))
    assert (score.substitutions, score.deletions, score.insertions) == counts
    assert score.edits == sum(counts)


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("one two three four", "one two three four"),
        ("so it goes on so it goes on so it goes on", "so it goes on"),
        ("a b c d e a b c d e", "a b c d e"),
        ("no no no no no no", "no"),
        ("well well I say I say", "well well I say I say"),
        ("", ""),
    ],
)
def test_loops_are_cut_at_the_first_repeated_words(text: str, cut: str) -> None:
    assert wer.cut_loop(text) == cut


@given(text=words)
def test_a_cut_text_is_a_prefix_without_repeats(text: list[str]) -> None:
    cut = wer.cut_loop(" ".join(text)).split()
    assert text[: len(cut)] == cut
    grams = [tuple(cut[at : at + wer.LOOP_NGRAM]) for at in range(len(cut) - wer.LOOP_NGRAM + 1)]
    # The cut leaves out the second occurrence itself; the words before it may overlap the first.
    assert len(set(grams)) == len(grams)


def test_a_report_sums_words_not_clips() -> None:
    report = wer.summarise(
        "m",
        [
            wer.score_clip(clip("a b c d", "one"), Hypothesis("a b c d")),
            wer.score_clip(clip("a", "two"), Hypothesis("b", ("loop",))),
        ],
    )
    assert report.wer == pytest.approx(1 / 5)
    assert report.by_speaker == {"one": 0.0, "two": 1.0}
    assert (report.clips, report.words, report.guarded_clips) == (2, 5, 1)
    assert report.wer_low <= report.wer <= report.wer_high
    assert json.loads(json.dumps(report.to_dict()))["scores"][1]["hypothesis"] == "b"


def test_the_interval_narrows_with_more_clips_and_is_repeatable() -> None:
    rng = np.random.default_rng(1)
    few, many = rng.integers(0, 4, 20), rng.integers(0, 4, 2000)
    narrow = wer.bootstrap_interval(many, np.full(2000, 10))
    wide = wer.bootstrap_interval(few, np.full(20, 10))
    assert narrow[1] - narrow[0] < (wide[1] - wide[0]) / 3
    assert narrow[0] < many.sum() / 20000 < narrow[1]
    assert wide == wer.bootstrap_interval(few, np.full(20, 10))


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    hits = 0
    for seed in range(60):
        low, high = wer.bootstrap_interval(rng.binomial(10, 0.3, 80), np.full(80, 10), seed=seed)
        hits += low <= 0.3 <= high
    assert 50 <= hits <= 60


def write_manifest(tmp_path: Path, lines: list[str]) -> Path:
    path = tmp_path / "manifest.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_a_manifest_is_filtered_and_relative_to_itself(tmp_path: Path) -> None:
    rows = [{"path": f"audio/{i}.wav", "text": f"t{i}", "speaker": f"s{i % 2}"} for i in range(6)]
    path = write_manifest(tmp_path, [json.dumps(row) for row in rows] + [""])
    assert [item.text for item in wer.read_manifest(path)] == [f"t{i}" for i in range(6)]
    (first, second) = wer.read_manifest(path, speakers=["s1"], limit=2)
    assert (first.id, first.path) == ("1", tmp_path / "audio" / "1.wav")
    assert second.text == "t3"


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([], "has no clips"),
        (["{"], "line 1 is not a clip"),
        (['{"path": "a", "text": "x"}', '{"path": "b"}'], "line 2"),
        (['{"path": "a", "text": null}'], "must be texts"),
        (["[1]"], "line 1"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_told(
    tmp_path: Path, lines: list[str], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        wer.read_manifest(write_manifest(tmp_path, lines))
    with pytest.raises(InputError, match="Cannot read"):
        wer.read_manifest(tmp_path / "none.jsonl")


class TwoSegments:
    """Hears each file's length in two segments, the second one guarded."""

    def transcribe(self, source: Path) -> Iterator[Final]:
        yield Final(0, 0.0, 1.0, "red")
        yield Final(1, 1.0, 2.0, "green", ("loop",))

    @property
    def recognizer(self) -> TwoSegments:
        return self

    def recognize(self, samples: np.ndarray) -> SimpleNamespace:
        return SimpleNamespace(decoded=Hypothesis(str(len(samples))))


def test_evaluate_joins_segments_times_clips_and_reports_each(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, np.zeros(8000, np.float32), 16000)
    seen: list[wer.ClipScore] = []
    utterances = [Utterance("x", path, "red green blue", "s")]
    report = wer.evaluate("m", utterances, wer.hear_with(TwoSegments()), on_clip=seen.append)
    assert report.deletions == 1 and report.guarded_clips == 1
    assert report.audio_s == 0.5 and report.compute_s > 0
    assert seen == list(report.scores)
    assert wer.hear_whole_with(TwoSegments())(path) == Hypothesis("8000")
