"""CTC scores of texts against all paths, written out."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_audiokv.encoder.sound import Sound
from edge_audiokv.engine.decoding.ctc_prefix import CtcPrefix, Prefix

WORDS = (" a", " ab", "b", "a", " b")


def sound_of(beliefs: np.ndarray) -> Sound:
    """beliefs [T, 5], one for each of WORDS; rows sum to at most 1."""
    words = np.tile(np.arange(len(WORDS), dtype=np.int32), (len(beliefs), 1))
    return Sound(np.zeros((len(beliefs), 3), np.float32), words, beliefs.astype(np.float32))


def paths(beliefs: np.ndarray) -> list[tuple[str, float]]:
    """(text, log probability) of every path; None is silence."""
    silence = np.maximum(1 - beliefs.sum(axis=1), 1e-3)
    found = []
    for path in product((None, *range(len(WORDS))), repeat=len(beliefs)):
        chances = [silence[t] if w is None else beliefs[t, w] for t, w in enumerate(path)]
        merged = [w for t, w in enumerate(path) if t == 0 or path[t - 1] != w]
        text = "".join(WORDS[w] for w in merged if w is not None)
        found.append((text, float(np.log(chances).sum())))
    return found


def random_beliefs(seed: int, n_rows: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    chances = rng.dirichlet(np.full(len(WORDS) + 1, 0.5), n_rows)[:, 1:]
    beliefs: np.ndarray = np.maximum(chances, 1e-4).astype(np.float32).astype(float) * 0.99
    return beliefs


def grown(reader: CtcPrefix, text: str, cuts: list[int]) -> Prefix:
    """`text` extended piece by piece."""
    prefix, at = reader.start(), 0
    for cut in sorted({*cuts, len(text)}):
        if at < cut <= len(text):
            prefix, at = reader.extend(prefix, text[at:cut]), cut
    return prefix


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.lists(st.integers(1, 8), max_size=3))
def test_scores_are_those_of_the_best_path_however_the_text_is_cut(
    seed: int, n_rows: int, cuts: list[int]
) -> None:
    beliefs = random_beliefs(seed, n_rows)
    every = paths(beliefs)
    reader = CtcPrefix(sound_of(beliefs), WORDS, floor=0.0)
    texts = sorted({text for text, _ in every}, key=len)
    for text in [*texts[:: max(1, len(texts) // 12)], " a a", " abb", " aab"]:
        prefix = grown(reader, text, cuts)
        begun = [p for t, p in every if t.startswith(text)]
        said = [p for t, p in every if t == text]
        if begun:
            assert prefix.score == pytest.approx(max(begun), abs=1e-4), text
        else:
            assert prefix.score < -1000, text
        if said:
            assert reader.whole(prefix) == pytest.approx(max(said), abs=1e-4), text
        else:
            assert reader.whole(prefix) < -1000, text


def test_a_word_said_for_long_is_said_once() -> None:
    beliefs = np.zeros((5, len(WORDS)))
    beliefs[1:4, 0] = 0.9
    reader = CtcPrefix(sound_of(beliefs), WORDS, floor=0.01)
    once = reader.extend(reader.start(), " a")
    twice = reader.extend(once, " a")
    assert once.score == pytest.approx(reader.start().score)
    assert reader.whole(once) == pytest.approx(once.score, abs=1e-6)
    assert twice.score < once.score - 2


def test_what_is_left_unsaid_costs_at_the_end() -> None:
    beliefs = np.zeros((6, len(WORDS)))
    beliefs[1, 0] = beliefs[4, 4] = 0.9
    reader = CtcPrefix(sound_of(beliefs), WORDS, floor=0.01)
    half = reader.extend(reader.start(), " a")
    assert half.score == pytest.approx(reader.start().score)
    assert reader.whole(half) - half.score == pytest.approx(np.log(0.1 / 0.9), abs=1e-3)


def test_a_piece_that_nobody_named_costs_the_floor_and_no_more() -> None:
    reader = CtcPrefix(sound_of(np.zeros((6, len(WORDS)))), WORDS, floor=0.01)
    unheard = reader.extend(reader.start(), " zebra")
    assert unheard.score == pytest.approx(np.log(0.01), abs=1e-3)
    assert reader.extend(unheard, "s").score == pytest.approx(2 * np.log(0.01), abs=1e-3)


def test_a_score_never_rises_and_columns_stay_few() -> None:
    rng = np.random.default_rng(5)
    reader = CtcPrefix(sound_of(random_beliefs(7, 30)), WORDS, floor=0.02)
    prefix = reader.start()
    for piece in rng.choice([" a", " b", "b", " zz", " ab"], 40):
        longer = reader.extend(prefix, str(piece))
        assert longer.score <= prefix.score
        prefix = longer
        assert len(prefix.columns) <= 4


def test_no_sound_and_no_text_are_no_trouble() -> None:
    reader = CtcPrefix(sound_of(np.zeros((0, len(WORDS)))), WORDS, floor=0.01)
    assert reader.start().score == 0
    assert reader.whole(reader.start()) == 0
    assert reader.extend(reader.start(), " a").score == -np.inf
    empty = reader.start()
    assert reader.extend(empty, "") is empty


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(0, 2))
def test_what_goes_on_is_what_costs_least(seed: int, n_rows: int, n_written: int) -> None:
    beliefs = random_beliefs(seed, n_rows)
    reader = CtcPrefix(sound_of(beliefs), WORDS, floor=0.0)
    prefix = reader.start()
    for text in (" a", "b")[:n_written]:
        prefix = reader.extend(prefix, text)
    best = reader.goes_on(prefix, 2)
    if prefix.score == -np.inf:
        assert best == []
        return
    every = reader.goes_on(prefix, 99)
    assert len(best) <= 2 and best == every[:2]
    scores = [reader.extend(prefix, more).score for more in every]
    # One that begins another may borrow its path; none that follows is better than the first.
    assert all(score <= scores[0] + 1e-9 for score in scores)
