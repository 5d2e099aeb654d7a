"""Rows to seconds."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_audiokv.engine.alignment.place import Alignment, Place
from edge_audiokv.engine.alignment.times import timed

FRAME_S = 0.08


def alignment(*rows: tuple[int, int], n_rows: int) -> Alignment:
    places = tuple(Place("abc", 4 * i, 4 * i + 3, *row, 0.5) for i, row in enumerate(rows))
    text = " ".join("abc" for _ in rows)
    return Alignment(text, places, np.zeros(len(text), np.int32), n_rows)


def test_a_word_begins_about_its_first_row_and_ends_before_the_next() -> None:
    first, second = timed(alignment((4, 4), (8, 9), n_rows=40), frame_s=FRAME_S, start_s=100.0)
    assert abs(first.start_s - 100.36) <= FRAME_S and abs(second.start_s - 100.68) <= FRAME_S
    assert 100.40 <= first.end_s <= second.start_s
    # Past the last word there is silence, which is not part of it.
    assert second.end_s < 101.5
    assert (first.text, first.confidence) == ("abc", 0.5)


@given(
    rows=st.lists(st.integers(0, 60), min_size=1, max_size=12).map(sorted),
    lengths=st.lists(st.integers(0, 3), min_size=12, max_size=12),
)
def test_words_stay_in_order_and_inside(rows: list[int], lengths: list[int]) -> None:
    after = [*rows[1:], 63]
    spans = [(a, min(a + n, b)) for a, n, b in zip(rows, lengths, after, strict=False)]
    words = timed(alignment(*spans, n_rows=64), frame_s=FRAME_S, start_s=2.0)
    assert all(2.0 <= w.start_s <= w.end_s <= 2.0 + 64 * FRAME_S + 1e-9 for w in words)
    assert all(a.end_s <= b.start_s + 1e-9 for a, b in itertools.pairwise(words))


def test_no_words() -> None:
    assert timed(alignment(n_rows=0), frame_s=FRAME_S) == ()
    (only,) = timed(alignment((0, 0), n_rows=1), frame_s=FRAME_S)
    assert 0 <= only.start_s < only.end_s <= FRAME_S + 1e-9
