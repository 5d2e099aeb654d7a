"""Words from what heads look at."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_audiokv.engine.alignment.attention import Watcher, align_by_attention, forward

N_ROWS = 20
FIRST = 5


def attention_of(looks: list[int], weights: np.ndarray | None = None) -> np.ndarray:
    """Four heads: one looks where `looks` says, the others always at the same place."""
    watcher = Watcher(FIRST, N_ROWS, weights)
    positions = np.tile(np.arange(FIRST + N_ROWS + 3, dtype=np.int32), (2, 2, 1))
    for token, row in enumerate(looks):
        scores = np.full((2, 2, positions.shape[2]), 0.001, np.float32)
        scores[:, :, FIRST + 2] = 0.5  # a row that everybody looks at
        scores[0, 1, FIRST + row] = 0.4
        scores[1, 0, : FIRST + token] = 0.02
        watcher.look(scores, positions)
    return watcher.attention()


PROFILE = np.array([[0.0, 0.9], [0.0, 0.1]], np.float32)


@pytest.mark.parametrize("weights", [None, PROFILE])
@pytest.mark.parametrize("n", [3, 12, 15])
def test_the_head_that_follows_the_sound_decides(n: int, weights: np.ndarray | None) -> None:
    looks = [4 + i for i in range(n)]
    found = attention_of(looks, weights)
    assert found.shape == (n, N_ROWS)
    assert forward(found).tolist() == looks


def test_freed_rows_and_text_are_no_sound() -> None:
    watcher = Watcher(FIRST, N_ROWS, PROFILE)
    scores = np.full((2, 2, 3), 0.3, np.float32)
    # Heads keep rows of their own: positions differ, -1 is none, the last one is text.
    positions = np.array([[[5, 9, 30], [7, -1, 30]], [[24, 25, -1], [0, 4, 5]]], np.int32)
    watcher.look(scores, positions)
    watcher.look(scores * 0, positions)
    assert watcher.attention().shape == (2, N_ROWS)
    seen = watcher.attention()[0]
    assert set(np.flatnonzero(seen)) <= {0, 2, 4, 19}


def test_nothing_was_written() -> None:
    assert Watcher(0, 4).attention().shape == (0, 4)
    found = align_by_attention("", [], np.empty((0, 4), np.float32), [])
    assert found.words == ()


def test_words_take_the_rows_of_their_pieces() -> None:
    attention = np.zeros((4, 10), np.float32)
    attention[[0, 1, 2, 3], [1, 3, 3, 7]] = 1
    found = align_by_attention("Rich men, too", ["Rich", " me", "n,", " too"], attention,
                               [0.9, 0.8, 0.5, 0.7])  # fmt: skip
    words = [(p.text, p.first, p.last, p.confidence) for p in found.words]
    assert words == [("Rich", 1, 1, 0.9), ("men,", 3, 3, 0.5), ("too", 7, 7, 0.7)]
    assert found.rows[5:].tolist() == [3] * 5 + [7] * 3


def test_a_sound_that_was_not_watched_spreads_the_words() -> None:
    found = align_by_attention("one two", ["one", " two"], np.empty((0, 8), np.float32), [])
    assert [(p.first, p.last, p.confidence) for p in found.words] == [(0, 2, 0.0), (4, 6, 0.0)]


@given(looks=st.lists(st.lists(st.floats(0, 1), min_size=4, max_size=4), min_size=1, max_size=4))
def test_no_other_rows_that_never_fall_are_looked_at_more(looks: list[list[float]]) -> None:
    attention = np.array(looks, np.float32)
    rows = forward(attention).tolist()
    assert rows == sorted(rows)
    n = len(looks)
    best = max(
        sum(attention[i, row] for i, row in enumerate(path))
        for path in itertools.combinations_with_replacement(range(4), n)
    )
    assert sum(attention[i, row] for i, row in enumerate(rows)) == pytest.approx(best, abs=1e-5)
