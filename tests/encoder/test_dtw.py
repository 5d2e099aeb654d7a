"""Frames of tokens: the cheapest path that never goes back."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge_audiokv.encoder.dtw import token_frames, warp

COSTS = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 7), st.integers(1, 7)),
    elements=st.integers(-4, 4).map(float),
)


def cheapest(cost: np.ndarray) -> float:
    """The textbook recurrence, cell by cell."""
    n, m = cost.shape
    total = np.full((n, m), np.inf)
    for i in range(n):
        for j in range(m):
            before = [0.0] if i == j == 0 else []
            before += [total[i - 1, j]] if i else []
            before += [total[i, j - 1]] if j else []
            before += [total[i - 1, j - 1]] if i and j else []
            total[i, j] = cost[i, j] + min(before)
    return float(total[-1, -1])


@given(COSTS)
@settings(deadline=None)
def test_a_path_is_monotonic_whole_and_the_cheapest(cost: np.ndarray) -> None:
    first, last = warp(cost)
    assert (first[0], last[-1]) == (0, cost.shape[1] - 1)
    assert (first <= last).all()
    steps = first[1:] - last[:-1]
    assert ((steps == 0) | (steps == 1)).all()
    spent = sum(cost[i, a : b + 1].sum() for i, (a, b) in enumerate(zip(first, last, strict=True)))
    assert spent == cheapest(cost)


def test_nothing_has_no_path() -> None:
    for shape in ((0, 5), (3, 0), (0, 0)):
        first, last = warp(np.zeros(shape))
        assert not len(first) and not len(last)


def test_tokens_lie_where_they_were_looked_for() -> None:
    rng = np.random.default_rng(0)
    looks = rng.uniform(0, 0.01, (4, 3, 80)).astype(np.float32)
    for token in range(4):
        looks[token, :, 20 * token : 20 * token + 20] += 0.05
    first, last = token_frames(looks)
    np.testing.assert_allclose(first, [0, 20, 40, 60], atol=2)
    np.testing.assert_allclose(last, [19, 39, 59, 79], atol=2)


def test_a_token_without_frames_or_rivals_has_a_place_all_the_same() -> None:
    assert token_frames(np.ones((2, 3, 0), np.float32))[0].tolist() == [0, 0]
    assert token_frames(np.ones((1, 3, 5), np.float32))[1].tolist() == [4]
    assert not len(token_frames(np.ones((0, 3, 5), np.float32))[0])
