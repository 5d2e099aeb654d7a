"""Word times: matching, errors by hand, silence cut away, the language check's rates."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from edge_audiokv.cli.evaluate.words import report_lines
from edge_audiokv.encoder.sound import Sound
from edge_audiokv.eval.wer import Utterance
from edge_audiokv.eval.words.language import measure_doubt
from edge_audiokv.eval.words.reference import cut_at_pauses
from edge_audiokv.eval.words.times import Errors, matches, measure
from edge_audiokv.events import Word

RATE_HZ = 16_000


def test_only_words_that_both_have_are_compared() -> None:
    ours, theirs = ["The", "cat,", "sat"], [" the", " black", " cat", " lay"]
    assert matches(ours, theirs) == [(0, 0), (1, 2)]


def test_errors_by_hand() -> None:
    found = Errors.of([-0.1, 0.0, 0.02, 0.24, 0.5])
    assert (found.n, found.bias_s, found.median_s) == (5, 0.02, 0.1)
    assert found.p95_s == pytest.approx(0.24 + 0.8 * 0.26)
    assert found.within_share == pytest.approx(0.8)
    assert Errors.of([]).n == 0


def sound_with_pause() -> np.ndarray:
    """0.5 s of noise, 0.5 s of near silence, 0.5 s of noise."""
    rng = np.random.default_rng(0)
    loud = np.repeat([0.1, 0.0001, 0.1], RATE_HZ // 2)
    return (rng.standard_normal(len(loud)) * loud).astype(np.float32)


def test_silence_at_both_ends_of_a_word_is_cut() -> None:
    words = [Word("one", 0.0, 0.8), Word("two", 0.8, 1.5), Word("nothing", 0.6, 0.9)]
    one, two, nothing = cut_at_pauses(words, sound_with_pause())
    assert (one.start_s, one.end_s) == (0.0, pytest.approx(0.5))
    assert (two.start_s, two.end_s) == (pytest.approx(1.0), pytest.approx(1.5))
    assert nothing == words[2]
    assert cut_at_pauses(words, np.zeros(10, np.float32)) == words


def clip(folder: Path, name: str, text: str, speaker: str = "s") -> Utterance:
    path = folder / f"{name}.wav"
    soundfile.write(path, sound_with_pause(), RATE_HZ)
    return Utterance(name, path, text, speaker)


def test_the_report_compares_spoken_spans_and_raw_ones(tmp_path: Path) -> None:
    whisper = SimpleNamespace(
        align=lambda samples, text: [Word("one", 0.0, 0.6), Word("two", 0.6, 1.5)]
    )

    def hear(path: Path) -> list[Word]:
        return [Word("one", 0.1, 0.5), Word("Two.", 1.0, 1.5)]

    report = measure([clip(tmp_path, "a", "ONE TWO")], hear, whisper)  # type: ignore[arg-type]
    assert (report.clips, report.words, report.starts.n) == (1, 2, 2)
    # Starts: 0.1 and 1.0 against 0.0 and, as it is silent till then, 1.0.
    assert report.starts.median_s == pytest.approx(0.05)
    assert report.raw_starts.median_s == pytest.approx(0.25)
    assert report.ends.median_s == pytest.approx(0.0, abs=1e-9)
    assert report.to_dict()["scores"][0]["matched"][1][0] == "Two."
    lines = report_lines(report)
    assert "2 right" in lines[0] and len(lines) == 7


def test_doubts_are_counted_by_recordings_of_one_speaker(tmp_path: Path) -> None:
    def hear(samples: np.ndarray) -> Sound:
        beliefs = np.full((10, 2), 0.45, np.float32)
        return Sound(np.zeros((10, 4), np.float32), np.zeros((10, 2), np.int32), beliefs)

    encoder = SimpleNamespace(tokens_per_second=12.5, sample_rate_hz=RATE_HZ, hear=hear)
    # 0.72 s of a clip name words: three clips are enough, two are not.
    clips = [clip(tmp_path, f"{name}{i}", "x", name) for name in "abc" for i in range(3)][:8]
    report = measure_doubt(clips, encoder, ["en"])  # type: ignore[arg-type]
    assert (report.recordings, report.warned, report.warned_share) == (2, 2, 1.0)
    assert [score.speaker for score in report.scores] == ["a", "b"]
    assert report.audio_s == pytest.approx(9.0)
    none = measure_doubt([], encoder, ["en"])  # type: ignore[arg-type]
    assert none.to_dict()["warned_share"] == 0.0
