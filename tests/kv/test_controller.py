from __future__ import annotations

import numpy as np
import pytest

from edge_audiokv.errors import PolicyError
from edge_audiokv.kv.controller import Controller, ControllerSettings
from edge_audiokv.kv.policy import make_policy
from edge_audiokv.kv.shape import KVShape, Rows
from edge_audiokv.kv.statistics import RowStatistics
from edge_audiokv.kv.view import Kind

from . import fake_cache

SHAPE = KVShape(2, 2, 3, 32)
CAPACITY = np.array([[64, 128], [128, 64]], np.int32)


def controller(name="audiokv-edge", **settings):
    return Controller(make_policy(name), SHAPE, CAPACITY, settings=ControllerSettings(**settings))


def test_kinds_follow_appends_truncation_and_shift():
    c = controller(n_sinks=2)
    c.appended(Kind.PROMPT, 3)
    c.appended(Kind.AUDIO, 4)
    c.appended(Kind.TEXT, 2)
    assert list(c.kind_of) == [0, 0, 1, 2, 2, 2, 2, 3, 3]
    c.truncate(8, CAPACITY)
    assert list(c.kind_of) == [0, 0, 1, 2, 2, 2, 2, 3]
    c.shift(-2, from_position=5)  # positions 3 and 4 are gone
    assert list(c.kind_of) == [0, 0, 1, 2, 2, 3]
    with pytest.raises(PolicyError):
        c.shift(1)


@pytest.mark.parametrize("name", ["audiokv-edge", "snapkv", "h2o", "audiokv"])
def test_an_adopted_turn_keeps_what_was_observed_of_it(name):
    rng = np.random.default_rng(5)
    held, added = np.array([[20, 30], [30, 20]]), np.full((2, 2), 9)

    def heard(*, sinks, scores):
        c = controller(name, n_sinks=sinks)
        c.appended(Kind.PROMPT, 2)
        c.appended(Kind.AUDIO, 5, novelty=np.arange(5, dtype=np.float32))
        c.appended(Kind.TEXT, 2)
        if c.uses_scores:
            c.observe_scores(scores, added, n_queries=2)
        return c

    scores = rng.random((2, 2, 9), np.float32)
    turn, memory = heard(sinks=4, scores=scores), controller(name, n_sinks=2)
    memory.appended(Kind.TEXT, 40)
    if memory.uses_scores:
        memory.observe_scores(rng.random((2, 2, 30), np.float32), held, n_queries=4)
    before = memory.view(cache_of(held), CAPACITY)
    memory.adopt(turn, held, added, novelty=np.full(5, 0.5, np.float32))
    cache = cache_of(held + added)
    after, alone = memory.view(cache, CAPACITY), turn.view(cache_of(added), CAPACITY)

    # Sinks are the session's: the turn's own beginning is the prompt and the sound that it was.
    assert list(after.kind_of[40:]) == [1, 1, 2, 2, 2, 2, 2, 3, 3]
    if after.novelty_of is not None:
        assert list(after.novelty_of[40:]) == [1, 1, 0.5, 0.5, 0.5, 0.5, 0.5, 1, 1]
    for field in ("scores", "ema", "total", "seen", "variance"):
        if getattr(after, field) is None or getattr(after, field).shape[:2] != (2, 2):
            continue
        for layer, head in np.ndindex(2, 2):
            n = held[layer, head]
            rows = getattr(after, field)[layer, head]
            np.testing.assert_allclose(rows[:n], getattr(before, field)[layer, head, :n])
            np.testing.assert_allclose(rows[n : n + 9], getattr(alone, field)[layer, head, :9])


def test_turns_weigh_alike_however_many_came_before_in_the_same_cache():
    turn, memory = controller("snapkv"), controller("snapkv")
    held, added = np.zeros((2, 2), np.int32), np.full((2, 2), 8)
    for _ in range(4):
        turn.reset()
        turn.appended(Kind.TEXT, 8)
        turn.observe_scores(np.full((2, 2, 8), 0.125, np.float32), added, n_queries=12)
        memory.adopt(turn, held, added)
        held = held + added
    scores = memory.view(cache_of(held), CAPACITY).scores
    np.testing.assert_allclose(scores[..., :32], 0.125)


def cache_of(counts):
    """A cache whose heads hold the newest `counts` of as many positions as there are."""
    cache = fake_cache.NumpyCache(SHAPE, CAPACITY)
    cache.append(int(counts.max()))
    index = [np.arange(counts.max() - n, counts.max(), dtype=np.int32) for n in counts.ravel()]
    cache.keep(Rows(np.concatenate(index), counts.astype(np.int32)))
    return cache


def test_targets_shrink_only_the_heads_that_are_full():
    c = controller(low_water=0.5)
    counts = np.array([[60, 60], [60, 60]], np.int32)
    assert c.must_evict(counts, 8) and not c.must_evict(counts, 4)
    np.testing.assert_array_equal(c.targets(counts, 8), [[32, 60], [60, 32]])
    # More is taken where the incoming tokens need it.
    np.testing.assert_array_equal(c.targets(counts, 50), [[14, 60], [60, 14]])
    with pytest.raises(PolicyError, match="do not fit"):
        c.targets(counts, 64)


def test_refusal_changes_nothing():
    c = controller("streaming-llm")
    cache = fake_cache.NumpyCache(SHAPE, CAPACITY)
    cache.append(60)
    c.appended(Kind.AUDIO, 60)
    with pytest.raises(PolicyError, match="do not fit"):
        c.make_room(cache, 64)
    assert (cache.counts == 60).all()


def test_make_room_reports_what_it_freed():
    c = controller("streaming-llm", low_water=0.5)
    cache = fake_cache.NumpyCache(SHAPE, CAPACITY)
    cache.append(60)
    c.appended(Kind.AUDIO, 60)
    assert c.make_room(cache, 4) is None
    eviction = c.make_room(cache, 8)
    assert eviction is not None
    assert eviction.freed_rows == 2 * 28 and eviction.freed_bytes == 2 * 28 * SHAPE.row_bytes
    assert eviction.kept_rows == cache.counts.sum()


def test_rows_of_each_kind_follow_evictions_and_moves():
    c = controller("streaming-llm", low_water=0.5, n_sinks=4)
    cache = fake_cache.NumpyCache(SHAPE, CAPACITY)
    for kind, n_tokens in ((Kind.PROMPT, 10), (Kind.AUDIO, 40), (Kind.TEXT, 10)):
        cache.append(n_tokens)
        c.appended(kind, n_tokens)
    np.testing.assert_array_equal(c.rows_of(cache)[:, 0, 0], [4, 6, 40, 10])
    c.make_room(cache, 8)
    rows = c.rows_of(cache)
    # Full heads keep their sinks and the newest; the others all.
    np.testing.assert_array_equal(rows[:, 0, 0], [4, 0, 18, 10])
    np.testing.assert_array_equal(rows[:, 0, 1], [4, 6, 40, 10])
    positions, counts = cache.positions(), cache.counts
    moved = np.where(positions >= 0, np.arange(positions.shape[2], dtype=np.int32), np.int32(-1))
    cache.move(moved[moved >= 0], 60)
    c.moved(positions, 60)
    np.testing.assert_array_equal(c.rows_of(cache), rows)
    np.testing.assert_array_equal(rows.sum(axis=0), counts)
    assert not controller().rows_of(fake_cache.NumpyCache(SHAPE, CAPACITY)).any()


def test_scores_are_wanted_now_and_then_and_only_if_used():
    c = controller(score_every_tokens=16)
    assert [n for n in range(40) if c.wants_scores(n)] == [0, 16, 32]
    assert not controller("streaming-llm").wants_scores(0)


def test_nbytes_counts_the_statistics():
    edge = controller().nbytes
    assert edge >= 2 * 4 * 4 * 128
    assert controller("streaming-llm").nbytes < 1000


def statistics(*needs, decay=0.5, n_window=4):
    return RowStatistics(
        np.full((1, 1), 8, np.int32), frozenset(needs), decay=decay, n_window=n_window
    )


def row(*values):
    return np.array([[values]], np.float32), np.array([[len(values)]], np.int32)


def test_decayed_mean_is_normalised_by_age_and_ignores_audio_queries():
    s = statistics("ema")
    s.observe(*row(0.8, 0.2), n_queries=1, text=True)
    s.observe(*row(0.0, 1.0), n_queries=1, text=False)
    s.observe(*row(0.4, 0.2, 0.4), n_queries=1, text=True)
    mean, weight = s.read("ema", 3)
    # Row 0: (0.5 * 0.8 + 0.4) / 1.5; row 2 was seen once.
    np.testing.assert_allclose(mean[0, 0], [0.8 / 1.5, 0.2, 0.4], rtol=1e-6)
    np.testing.assert_allclose(weight[0, 0], [1.5, 1.5, 1.0])


def test_window_is_the_mean_over_the_last_queries():
    s = statistics("scores", n_window=4)
    s.observe(*row(1.0, 0.0), n_queries=3, text=True)
    s.observe(*row(0.0, 0.0, 1.0), n_queries=2, text=True)
    mean, _ = s.read("scores", 3)
    np.testing.assert_allclose(mean[0, 0], [0.5, 0, 0.5])  # 2 of 3 old queries, 2 new ones
    s.observe(*row(0.2, 0.3, 0.5), n_queries=9, text=True)
    np.testing.assert_allclose(s.read("scores", 3)[0][0, 0], [0.2, 0.3, 0.5], rtol=1e-6)


def test_variance_matches_numpy():
    s = statistics("variance")
    data = np.random.default_rng(0).random((5, 3)).astype(np.float32)
    for values in data:
        s.observe(*row(*values), n_queries=1, text=True)
    np.testing.assert_allclose(s.read("variance", 3)[0][0, 0], data.var(axis=0), rtol=1e-4)


def test_statistics_follow_their_rows():
    s = statistics("total")
    s.observe(*row(0.1, 0.2, 0.3, 0.4), n_queries=10, text=True)
    s.kept(Rows(np.array([1, 3], np.int32), np.array([[2]], np.int32)))
    np.testing.assert_allclose(s.read("total", 4)[0][0, 0], [2, 4, 0, 0])
    s.observe(*row(0.5, 0.5, 0.0), n_queries=2, text=True)
    s.truncate(np.array([[1]], np.int32))
    np.testing.assert_allclose(s.read("total", 4)[0][0, 0], [3, 0, 0, 0])
