"""Joins of real stretches: cut at pauses, said as often as they claim."""

from __future__ import annotations

import numpy as np
import pytest

from edge_audiokv.eval.repeats.joins import LONGEST_S, make_joins, stretches
from edge_audiokv.events import Word

RATE_HZ = 16_000


def clip(*texts: str) -> tuple[np.ndarray, list[Word]]:
    """Phrases as constant sound of a level of their own, half a second a word, between pauses."""
    pieces, words, at_s = [], [], 0.0
    for level, text in enumerate(texts, 1):
        for word in text.split():
            words.append(Word(word, at_s, at_s + 0.5))
            pieces.append(np.full(RATE_HZ // 2, level / 10, np.float32))
            at_s += 0.5
        pieces.append(np.zeros(RATE_HZ // 5, np.float32))
        at_s += 0.2
    return np.concatenate(pieces), words


def test_stretches_are_cut_at_pauses_and_nowhere_else() -> None:
    samples, words = clip("one two three", "four five", "six")
    parts = list(stretches("a", "reader", samples, words))
    assert [part.text for part in parts] == [
        "one two three", "one two three four five", "one two three four five six",
        "four five", "four five six", "six",
    ]  # fmt: skip
    for part in parts:
        levels = set(np.round(part.samples[part.samples > 0], 3).tolist())
        assert len(levels) == sum(word in part.text for word in ("one", "four", "six"))
        # All of its words are in it, and no more silence than the pauses in and around it.
        assert 0 <= part.duration_s - part.n_words / 2 <= 0.2 * (len(levels) + 1)


def test_a_join_says_the_phrase_as_often_as_it_claims() -> None:
    parts = []
    for source, texts in {"a": "one two three", "b": "four five six seven", "c": "a b c"}.items():
        samples, words = clip(texts)
        parts += stretches(source, "reader", samples, words)
    joins = list(make_joins(parts, count=9, seed=1))
    assert {join.times for join in joins} == {2, 3, 4}
    for join in joins:
        assert join.text.split() == " ".join(part.text for part in join.parts).split()
        assert len({join.before.source, join.phrase.source, join.after.source}) == 3
        sound_s = sum(part.duration_s for part in join.parts)
        assert sound_s < len(join.samples) / RATE_HZ <= LONGEST_S
        assert join.samples.dtype == np.float32
    again = make_joins(parts, count=9, seed=1)
    assert all((a.samples == b.samples).all() for a, b in zip(joins, again, strict=True))


@pytest.mark.parametrize("n_sources", [0, 1, 2])
def test_too_few_clips_make_no_joins(n_sources: int) -> None:
    samples, words = clip("one two three")
    parts = [p for at in range(n_sources) for p in stretches(str(at), "reader", samples, words)]
    assert list(make_joins(parts, count=5, seed=0)) == []
