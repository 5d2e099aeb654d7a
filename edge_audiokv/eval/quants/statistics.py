"""Intervals by a paired block bootstrap, and what a mean word error rate hides.

Clips of one recording or reader go wrong together, so whole blocks are drawn anew (Liu and Peng
2020, arXiv:1912.09508), for both sides of a difference at once (Bisani and Ney 2004).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edge_audiokv.eval.wer import Utterance

RESAMPLES = 2000
# Fewer say nothing about others.
LEAST_BLOCKS = 8
COLLAPSED_WER = 0.5
MAX_PERIOD_WORDS = 8


@dataclass(frozen=True)
class Interval:
    """`value` and what holds 95 % of the draws; None where there is only one block to draw.

    `at_most_0` is the share of draws in which there was no rise.
    """

    value: float
    low: float | None
    high: float | None
    at_most_0: float | None = None


def ratio(
    numerators: ArrayLike, denominators: ArrayLike, blocks: Sequence[str], *, seed: int = 0
) -> Interval:
    """sum / sum over clips [N], with the blocks that they belong to drawn anew."""
    over, under = (np.asarray(item, np.float64) for item in (numerators, denominators))
    value = float(over.sum() / max(under.sum(), 1e-300)) if under.sum() else 0.0
    names = sorted(set(blocks))
    if len(names) < 2:
        return Interval(value, None, None)
    index = np.array([names.index(name) for name in blocks])
    tops, bottoms = (np.bincount(index, item, len(names)) for item in (over, under))
    draws = np.random.default_rng(seed).integers(0, len(names), (RESAMPLES, len(names)))
    lowers = bottoms[draws].sum(axis=1)
    rates = np.divide(tops[draws].sum(axis=1), lowers, out=np.zeros(RESAMPLES), where=lowers > 0)
    low, high = np.percentile(rates, [2.5, 97.5])
    return Interval(value, float(low), float(high), float((rates <= 0).mean()))


def block_kind(clips: Sequence[Utterance]) -> str:
    """What is drawn anew: "speaker", "recording" or "clip", the largest of which there are enough.

    A kind counts only if every clip names its own.
    """
    for kind in ("speaker", "recording"):
        names = {getattr(clip, kind) for clip in clips}
        if "" not in names and len(names) >= LEAST_BLOCKS:
            return kind
    return "clip"


def block_of(clip: Utterance, kind: str) -> str:
    return clip.id if kind == "clip" else str(getattr(clip, kind))


def longest_repeat(text: str, *, max_period_words: int = MAX_PERIOD_WORDS) -> int:
    """Words in a row that only say again what stands right before them: 3 of "no no no no"."""
    words = text.split()
    longest = 0
    for period in range(1, max_period_words + 1):
        run = 0
        for at in range(period, len(words)):
            run = run + 1 if words[at] == words[at - period] else 0
            if run >= period:
                longest = max(longest, run)
    return longest


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Median, 99 % and maximum; 0 of nothing."""
    data: NDArray[np.float64] = np.asarray(values or [0.0], np.float64)
    median, p99 = np.percentile(data, [50, 99])
    return {"median": float(median), "p99": float(p99), "max": float(data.max())}
