"""Word error rate for watching training (plain lower-case words) with bootstrap intervals."""

from __future__ import annotations

import random
from dataclasses import dataclass


def edits(reference: list[str], hypothesis: list[str]) -> int:
    """Levenshtein distance in words."""
    previous = list(range(len(hypothesis) + 1))
    for i, word in enumerate(reference, 1):
        current = [i]
        for j, other in enumerate(hypothesis, 1):
            same = previous[j - 1] + (word != other)
            current.append(min(same, previous[j] + 1, current[j - 1] + 1))
        previous = current
    return previous[-1]


@dataclass(frozen=True)
class Wer:
    """A rate with the 95 % interval of a bootstrap over utterances."""

    rate: float
    low: float
    high: float
    words: int
    utterances: int


def word_error_rate(references: list[str], hypotheses: list[str], resamples: int = 1000) -> Wer:
    """Errors over words of the reference, summed over the set."""
    pairs = [
        (edits(r.split(), h.split()), len(r.split()))
        for r, h in zip(references, hypotheses, strict=True)
    ]
    words = sum(n for _, n in pairs)
    if not words:
        return Wer(0.0, 0.0, 0.0, 0, len(pairs))
    rng = random.Random(0)
    rates = []
    for _ in range(resamples):
        drawn = rng.choices(pairs, k=len(pairs))
        rates.append(sum(e for e, _ in drawn) / max(1, sum(n for _, n in drawn)))
    rates.sort()
    low, high = rates[int(0.025 * resamples)], rates[min(resamples - 1, int(0.975 * resamples))]
    return Wer(sum(e for e, _ in pairs) / words, low, high, words, len(pairs))
