"""Medians of few repetitions, with intervals that assume nothing of how times are distributed.

The k-th smallest and the k-th largest of n values hold the median between them unless fewer than k
fall on one side of it, which is binomial (Conover, Practical Nonparametric Statistics, 3.2).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

COVERAGE = 0.95
# From here on repetitions of the same work say that something else ran, too.
MOST_SPREAD = 0.2


@dataclass(frozen=True)
class Middle:
    """A median, what holds it with 95 %, and (max - min) / median of the values.

    Of fewer than six values no interval holds it as surely: then they are the least and the most.
    """

    value: float
    low: float
    high: float
    spread: float

    @property
    def disagrees(self) -> bool:
        """Do the repetitions differ more than those of a quiet machine?"""
        return self.spread > MOST_SPREAD


def middle(values: Sequence[float]) -> Middle:
    """The median of at least one value."""
    ordered = sorted(values)
    value = statistics.median(ordered)
    at = _rank(len(ordered))
    spread = (ordered[-1] - ordered[0]) / value if value else 0.0
    return Middle(value, ordered[at], ordered[-1 - at], spread)


def ratios(over: Sequence[float], under: Sequence[float]) -> Middle:
    """over / under, repetition by repetition: what slows both of a pair cancels out."""
    return middle([mine / other for mine, other in zip(over, under, strict=True)])


def _rank(n: int) -> int:
    """The largest k with at least `COVERAGE` between the values k from both ends; 0 if none."""
    best, below = 0, 0.0
    for at in range((n + 1) // 2):
        below += math.comb(n, at) / 2**n  # P(at most `at` values lie below the median)
        if 1 - 2 * below < COVERAGE:
            break
        best = at
    return best
