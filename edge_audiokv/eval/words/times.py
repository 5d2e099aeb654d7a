"""How far word times lie from a reference's, over the words that are right."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np

from edge_audiokv.audio.files.file import read_all
from edge_audiokv.eval.wer import Utterance
from edge_audiokv.eval.words.reference import MAX_S, RATE_HZ, CrossAttention, cut_at_pauses
from edge_audiokv.events import Word

BOUND_S = 0.24
_OTHER = re.compile(r"[^a-z0-9']")

Hear = Callable[[Path], Sequence[Word]]


@dataclass(frozen=True)
class Errors:
    """Seconds by which times differ: ours less the reference's."""

    n: int
    bias_s: float
    median_s: float
    p95_s: float
    within_share: float

    @classmethod
    def of(cls, differences_s: Sequence[float]) -> Errors:
        """`bias_s` is the median difference, the others are of its size."""
        if not differences_s:
            return cls(0, 0.0, 0.0, 0.0, 0.0)
        signed = np.asarray(differences_s)
        size = np.abs(signed)
        return cls(
            len(signed),
            float(np.median(signed)),
            float(np.median(size)),
            float(np.percentile(size, 95)),
            # Whisper's times are multiples of 20 ms: equal is within.
            float((size <= BOUND_S + 1e-9).mean()),
        )


@dataclass(frozen=True)
class ClipTimes:
    """The words of one clip that are right: (word, ours, the reference's) with times in s."""

    id: str
    audio_s: float
    words: int
    matched: tuple[tuple[str, tuple[float, float], tuple[float, float], tuple[float, float]], ...]


@dataclass(frozen=True)
class TimesReport:
    """Starts and ends against Whisper's spans cut at pauses, and as it gives them (`raw`)."""

    clips: int
    audio_s: float
    words: int
    starts: Errors
    ends: Errors
    both: Errors
    raw_starts: Errors
    raw_ends: Errors
    scores: tuple[ClipTimes, ...] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def matches(ours: Sequence[str], theirs: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of places at which both say the same word, in order; case and marks do not count."""
    a, b = ([_OTHER.sub("", word.lower()) for word in words] for words in (ours, theirs))
    blocks = SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks()
    return [(block.a + i, block.b + i) for block in blocks for i in range(block.size)]


def measure(
    clips: Sequence[Utterance],
    hear: Hear,
    reference: CrossAttention,
    *,
    on_clip: Callable[[str], None] = lambda _id: None,
) -> TimesReport:
    """Word times of `hear` for all clips of at most 30 s, against `reference`."""
    scores = []
    for clip in clips:
        samples = read_all(clip.path)
        if len(samples) <= MAX_S * RATE_HZ:
            raw = reference.align(samples, clip.text.lower())
            cut = cut_at_pauses(raw, samples)
            ours = hear(clip.path)
            pairs = matches([w.text for w in ours], [w.text for w in raw])
            matched = tuple(
                (ours[i].text, _span(ours[i]), _span(cut[j]), _span(raw[j])) for i, j in pairs
            )
            scores.append(ClipTimes(clip.id, len(samples) / RATE_HZ, len(raw), matched))
        on_clip(clip.id)
    return summarise(scores)


def summarise(scores: Sequence[ClipTimes]) -> TimesReport:
    """All words together."""
    pairs = [pair for score in scores for pair in score.matched]
    starts = [ours[0] - cut[0] for _, ours, cut, _ in pairs]
    ends = [ours[1] - cut[1] for _, ours, cut, _ in pairs]
    return TimesReport(
        clips=len(scores),
        audio_s=sum(score.audio_s for score in scores),
        words=sum(score.words for score in scores),
        starts=Errors.of(starts),
        ends=Errors.of(ends),
        both=Errors.of([*starts, *ends]),
        raw_starts=Errors.of([ours[0] - raw[0] for _, ours, _, raw in pairs]),
        raw_ends=Errors.of([ours[1] - raw[1] for _, ours, _, raw in pairs]),
        scores=tuple(scores),
    )


def _span(word: Word) -> tuple[float, float]:
    return word.start_s, word.end_s
