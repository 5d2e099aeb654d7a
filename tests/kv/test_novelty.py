from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_audiokv.kv.controller import Controller
from edge_audiokv.kv.novelty import Novelty
from edge_audiokv.kv.policy import make_policy
from edge_audiokv.kv.shape import KVShape
from edge_audiokv.kv.view import Kind

SHAPE = KVShape(1, 2, 1, 4)
CAPACITY = np.full((1, 2), 64, np.int32)


def test_by_hand():
    rows = np.array([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]], np.float32)
    # Unit rows sum to (2, 1): cosines 2 / sqrt 5 and 1 / sqrt 5, whatever the rows' lengths.
    expected = 1 - np.array([2, 1, 2]) / np.sqrt(5)
    np.testing.assert_allclose(Novelty().measure(rows), expected, rtol=1e-6)


def test_rows_that_carry_something_stand_apart_from_silence():
    rng = np.random.default_rng(0)
    rows = np.tile(rng.standard_normal(64), (40, 1)) + 0.05 * rng.standard_normal((40, 64))
    rows[::4] = rng.standard_normal((10, 64))
    novelty = Novelty().measure(rows.astype(np.float32))
    words = novelty[::4]
    assert words.min() > 2 * np.delete(novelty, np.s_[::4]).max()


def test_what_was_heard_before_counts_until_reset():
    same, other = np.eye(3, dtype=np.float32)[[0]], np.eye(3, dtype=np.float32)[[1]]
    novelty = Novelty()
    assert novelty.measure(same)[0] == pytest.approx(0)
    assert novelty.measure(other)[0] == pytest.approx(1 - 1 / np.sqrt(2))
    assert novelty.nbytes == 3 * 8
    novelty.reset()
    assert novelty.nbytes == 0
    assert novelty.measure(other)[0] == pytest.approx(0)


@given(st.integers(0, 12), st.integers(0, 2**32 - 1))
def test_always_finite_and_in_range(n_rows, seed):
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n_rows, 5)).astype(np.float32)
    rows[rng.random(n_rows) < 0.3] = 0.0
    novelty = Novelty().measure(rows)
    assert novelty.shape == (n_rows,) and novelty.dtype == np.float32
    assert ((novelty >= 0) & (novelty <= 2)).all()
    assert (novelty[~rows.any(axis=1)] == 0).all()


def test_opposed_rows_have_no_mean_and_are_all_new():
    rows = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]], np.float32)
    assert list(Novelty().measure(rows)) == [1, 1, 0]


def test_the_controller_keeps_novelties_beside_the_positions():
    c = Controller(make_policy("audiokv-edge"), SHAPE, CAPACITY)
    values = np.array([0.25, 0.5, 0.75, 1.0], np.float32)
    c.appended(Kind.PROMPT, 3)
    c.appended(Kind.AUDIO, 4, novelty=values)
    c.appended(Kind.TEXT, 600)

    class Cache:
        counts = np.array([[3, 3]], np.int32)
        read_keys = read_values = None

        def positions(self):
            return np.array([[[0, 4, 6], [1, 2, 700]]], np.int32)

    def novelty():
        return c.view(Cache(), CAPACITY).novelty.tolist()

    c.appended(Kind.TEXT, 200)
    assert novelty() == [[[1, 0.5, 1], [1, 1, 1]]]
    c.shift(-1, from_position=4)  # position 3 is gone, 4 is 3
    assert c.view(Cache(), CAPACITY).novelty_of[:7].tolist() == [1, 1, 1, 0.5, 0.75, 1, 1]
    c.truncate(4, CAPACITY)
    c.appended(Kind.AUDIO, 1, novelty=np.array([0.125], np.float32))
    assert c.view(Cache(), CAPACITY).novelty_of.tolist() == [1, 1, 1, 0.5, 0.125]
    assert not Controller(make_policy("snapkv"), SHAPE, CAPACITY).uses_novelty


def test_ours_keeps_the_rows_that_stand_apart():
    c = Controller(make_policy("audiokv-edge", window=1), SHAPE, CAPACITY)
    novelty = np.full(40, 0.05, np.float32)
    novelty[5:40:5] = 0.9
    c.appended(Kind.PROMPT, 4)
    c.appended(Kind.AUDIO, 40, novelty=novelty)
    counts = np.full((1, 2), 44, np.int32)
    c.observe_scores(np.full((1, 2, 44), 1 / 44, np.float32), counts, n_queries=1)

    class Cache:
        read_keys = read_values = None

        def __init__(self):
            self.counts = counts

        def positions(self):
            return np.tile(np.arange(44, dtype=np.int32), (1, 2, 1))

    rows = c.plan(c.view(Cache(), np.full((1, 2), 12, np.int32)))
    assert {4 + at for at in range(5, 40, 5)} <= set(rows.of(0, 0).tolist())


def test_ringing_of_the_smoother_does_not_drop_rows_that_carry_words():
    c = Controller(make_policy("audiokv-edge", window=1, gamma=0.3), SHAPE, CAPACITY)
    novelty = np.full(40, 0.05, np.float32)
    novelty[5:40:5] = 0.9
    c.appended(Kind.PROMPT, 4)
    c.appended(Kind.AUDIO, 40, novelty=novelty)
    counts = np.full((1, 2), 44, np.int32)
    attention = np.full((1, 2, 44), 1e-6, np.float32)
    attention[..., 20] = 1.0  # one spike rings below zero on both sides
    c.observe_scores(attention, counts, n_queries=1)

    class Cache:
        read_keys = read_values = None

        def __init__(self):
            self.counts = counts

        def positions(self):
            return np.tile(np.arange(44, dtype=np.int32), (1, 2, 1))

    rows = c.plan(c.view(Cache(), np.full((1, 2), 14, np.int32)))
    assert {4 + at for at in range(5, 40, 5)} <= set(rows.of(0, 0).tolist())


def test_generated_text_gives_way_to_rows_that_carry_words_but_not_to_the_others():
    c = Controller(make_policy("audiokv-edge", window=1, n_sinks=0), SHAPE, CAPACITY)
    c.appended(Kind.AUDIO, 20, novelty=np.array([0.9, 0.05] * 10, np.float32))
    c.appended(Kind.TEXT, 10)
    c.appended(Kind.AUDIO, 1, novelty=np.ones(1, np.float32))
    counts = np.full((1, 2), 31, np.int32)
    c.observe_scores(np.full((1, 2, 31), 1 / 31, np.float32), counts, n_queries=1)

    class Cache:
        read_keys = read_values = None

        def __init__(self):
            self.counts = counts

        def positions(self):
            return np.tile(np.arange(31, dtype=np.int32), (1, 2, 1))

    def kept(n_rows):
        return set(c.plan(c.view(Cache(), np.full((1, 2), n_rows, np.int32))).of(0, 0).tolist())

    words, text = set(range(4, 20, 2)), set(range(20, 30))  # the first four are the session's sinks
    assert words <= kept(15) and not text <= kept(15)
    assert words | text <= kept(25)
