"""Is what was said several times written several times?

A phrase was written as many times as explains the text best: with that many rounds the alignment of
the whole text has the fewest edits. Word errors are set against those of the same stretches heard
alone: what a join adds is the fault of the repeats. Intervals: Wilson's for shares, bootstrap over
joins for rates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import jiwer
import numpy as np

from edge_audiokv.errors import InputError
from edge_audiokv.eval.recall import wilson
from edge_audiokv.eval.wer import (
    RESAMPLES,
    Hypothesis,
    Transcribe,
    Utterance,
    bootstrap_interval,
    normalise,
    score_clip,
)
from edge_audiokv.manifest import read_lines

# Rounds above what was said that are tried.
_MOST_EXTRA = 4


@dataclass(frozen=True)
class Repeated:
    """A join of a manifest: the clip, its parts in order with their texts, and which repeat."""

    clip: Utterance
    parts: tuple[Utterance, ...]
    times: int


@dataclass(frozen=True)
class JoinScore:
    """`written` is how often the repeated part was written; `edits` of the join, `alone_edits` of
    its parts, each counted as often as it is said.
    """

    id: str
    times: int
    written: int
    words: int
    edits: int
    alone_edits: int
    reference: str
    hypothesis: str
    flags: tuple[str, ...]

    @property
    def right(self) -> bool:
        return self.written == self.times


@dataclass(frozen=True)
class RepeatsReport:
    """Rates are shares; intervals hold 95 %. `rise` is the joins' WER less that of their parts."""

    joins: int
    right: int
    right_share: float
    right_low: float
    right_high: float
    by_times: dict[int, tuple[int, int]]
    wer: float
    wer_low: float
    wer_high: float
    alone_wer: float
    rise: float
    rise_low: float
    rise_high: float
    flags: dict[str, int]
    scores: tuple[JoinScore, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def read_joins(path: Path, *, limit: int | None = None) -> list[Repeated]:
    """Joins of a manifest that `scripts/make_repeats.py` wrote. Raises InputError."""
    joins = []
    for number, data in islice(read_lines(path), limit):
        try:
            parts = tuple(
                Utterance(f"{number - 1}.{at}", path.parent / part["path"], str(part["text"]), "")
                for at, part in enumerate(data["parts"])
            )
            clip = Utterance(str(data["id"]), path.parent / data["path"], str(data["text"]), "")
            joins.append(Repeated(clip, parts, int(data["times"])))
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise InputError(
                f"{path} line {number} is no join of repeats ({error}).",
                cure="Make it again: python scripts/make_repeats.py --help",
            ) from None
    if not joins or not all(0 < join.times <= len(join.parts) - 2 for join in joins):
        raise InputError(f"{path} has no repeats.", cure="Make it again.")
    return joins


def rounds_written(parts: Sequence[str], hypothesis: str) -> int:
    """How often `hypothesis` says the parts between the first and the last; all are normalised.

    Of two numbers that explain it equally well, that which is not what was said.
    """
    first, phrase, last = parts[0], parts[1], parts[-1]
    said = len(parts) - 2
    edits = {
        times: _edits(" ".join([first, *[phrase] * times, last]), hypothesis)
        for times in range(said + _MOST_EXTRA + 1)
    }
    return min(edits, key=lambda times: (edits[times], times == said, abs(times - said)))


def _edits(reference: str, hypothesis: str) -> int:
    if not hypothesis:
        return len(reference.split())
    result = jiwer.process_words(reference, hypothesis)
    return int(result.substitutions + result.deletions + result.insertions)


def evaluate(
    joins: Sequence[Repeated],
    transcribe: Transcribe,
    *,
    on_join: Callable[[JoinScore], None] | None = None,
) -> RepeatsReport:
    """Transcribe every join, and each of its different parts once."""
    alone: dict[Path, Hypothesis] = {}
    scores = []
    for join in joins:
        heard = transcribe(join.clip.path)
        for part in join.parts:
            if part.path not in alone:
                alone[part.path] = transcribe(part.path)
        score = score_clip(join.clip, heard)
        scores.append(
            JoinScore(
                id=join.clip.id,
                times=join.times,
                written=rounds_written(
                    [normalise(part.text) for part in join.parts], score.hypothesis
                ),
                words=score.words,
                edits=score.edits,
                alone_edits=sum(score_clip(p, alone[p.path]).edits for p in join.parts),
                reference=score.reference,
                hypothesis=score.hypothesis,
                flags=heard.flags,
            )
        )
        if on_join is not None:
            on_join(scores[-1])
    return summarise(scores)


def summarise(scores: Sequence[JoinScore]) -> RepeatsReport:
    """One report of many joins."""
    right = sum(score.right for score in scores)
    low, high = wilson(right, len(scores))
    words = np.array([max(1, score.words) for score in scores])
    edits = np.array([score.edits for score in scores])
    more = edits - np.array([score.alone_edits for score in scores])
    wer_low, wer_high = bootstrap_interval(edits, words)
    drawn = np.random.default_rng(0).integers(0, len(words), (RESAMPLES, len(words)))
    rise_low, rise_high = np.percentile(more[drawn].sum(1) / words[drawn].sum(1), [2.5, 97.5])
    times = sorted({score.times for score in scores})
    return RepeatsReport(
        joins=len(scores),
        right=right,
        right_share=right / len(scores),
        right_low=low,
        right_high=high,
        by_times={
            n: (
                sum(score.right for score in scores if score.times == n),
                sum(score.times == n for score in scores),
            )
            for n in times
        },
        wer=float(edits.sum() / words.sum()),
        wer_low=wer_low,
        wer_high=wer_high,
        alone_wer=float((edits - more).sum() / words.sum()),
        rise=float(more.sum() / words.sum()),
        rise_low=float(rise_low),
        rise_high=float(rise_high),
        flags=dict(Counter(flag for score in scores for flag in score.flags)),
        scores=tuple(scores),
    )
