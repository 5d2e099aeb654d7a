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

from . import fake_cache

SHAPE = KVShape(1, 2, 1, 4)
CAPACITY = np.full((1, 2), 64, np.int32)
# 40 audio rows after a prompt of 4: every fifth carries a word.
SPEECH = np.where(np.arange(40) % 5, 0.05, 0.9).astype(np.float32)
SPEECH[0] = 0.05
WORDS = {4 + at for at in range(5, 40, 5)}


def heard(*parts, attention=None, **options):
    """A controller and a cache after `parts` (kind, novelty or rows); attention [T], or even."""
    c = Controller(make_policy("audiokv-edge", window=1, **options), SHAPE, CAPACITY)
    cache = fake_cache.NumpyCache(SHAPE, CAPACITY)
    for kind, rows in parts:
        novelty = None if isinstance(rows, int) else np.asarray(rows, np.float32)
        n_rows = rows if novelty is None else len(novelty)
        c.appended(kind, n_rows, novelty=novelty)
        cache.append(n_rows)
    n_rows = cache.next_position
    scores = np.full(n_rows, 1 / n_rows) if attention is None else attention
    c.observe_scores(np.tile(scores, (1, 2, 1)).astype(np.float32), cache.counts, n_queries=1)
    return c, cache


def kept(c, cache, n_rows):
    """Positions that the first head keeps when every head is cut to `n_rows`."""
    targets = np.full((1, 2), n_rows, np.int32)
    return set(c.plan(c.view(cache, targets)).of(0, 0).tolist())


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

    cache = fake_cache.NumpyCache(SHAPE, CAPACITY)
    cache.heads = [[[0, 4, 6], [1, 2, 700]]]

    c.appended(Kind.TEXT, 200)
    assert c.view(cache, CAPACITY).novelty.tolist() == [[[1, 0.5, 1], [1, 1, 1]]]
    c.shift(-1, from_position=4)  # position 3 is gone, 4 is 3
    assert c.view(cache, CAPACITY).novelty_of[:7].tolist() == [1, 1, 1, 0.5, 0.75, 1, 1]
    c.truncate(4, CAPACITY)
    c.appended(Kind.AUDIO, 1, novelty=np.array([0.125], np.float32))
    assert c.view(cache, CAPACITY).novelty_of.tolist() == [1, 1, 1, 0.5, 0.125]
    assert not Controller(make_policy("snapkv"), SHAPE, CAPACITY).uses_novelty


def test_ours_keeps_the_rows_that_stand_apart():
    assert kept(*heard((Kind.PROMPT, 4), (Kind.AUDIO, SPEECH)), 12) >= WORDS


def test_ringing_of_the_smoother_does_not_drop_rows_that_carry_words():
    attention = np.full(44, 1e-6)
    attention[20] = 1.0  # one spike rings below zero on both sides
    parts = (Kind.PROMPT, 4), (Kind.AUDIO, SPEECH)
    assert kept(*heard(*parts, attention=attention, gamma=0.3), 14) >= WORDS


def test_generated_text_gives_way_to_rows_that_carry_words_but_not_to_the_others():
    parts = (Kind.AUDIO, [0.9, 0.05] * 10), (Kind.TEXT, 10), (Kind.AUDIO, [1.0])
    c, cache = heard(*parts, n_sinks=0)
    words, text = set(range(4, 20, 2)), set(range(20, 30))  # the first four are the session's sinks
    assert words <= kept(c, cache, 15) and not text <= kept(c, cache, 15)
    assert words | text <= kept(c, cache, 25)
