"""Positions run out and old time closes up: the cache and the session's memory, without a model."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from edge_audiokv.engine.cache import HeadCache
from edge_audiokv.engine.memory.rolling import RollingMemory
from edge_audiokv.kv.controller import Controller
from edge_audiokv.kv.policy import make_policy
from edge_audiokv.kv.shape import KVShape
from edge_audiokv.kv.view import Kind
from tests.kv.fake_cache import NumpyCache

SHAPE = KVShape(2, 2, 3, 32)
TURN, N_CONTEXT = 40, 1536


class Context(NumpyCache):
    """A context that decodes nothing: what it is given becomes rows."""

    type_k, n_outputs, nbytes = "f16", 1, 0

    @property
    def level(self) -> np.ndarray:
        return np.searchsorted(np.unique(self.capacity), self.capacity).astype(np.int32)

    def decode_tokens(self, ids, *, logits=True, score=False):
        self.append(len(ids))
        return np.zeros(8, np.float32) if logits else None

    def decode_embeddings(self, rows, *, score=False):
        self.append(len(rows))

    def clear(self) -> None:
        self.truncate(0)

    def move(self, positions, next_position):
        assert self.type_k != "q4_0"
        super().move(positions, next_position)

    def shift(self, delta: int, *, from_position: int) -> None:
        moved = self.positions()
        moved = np.where(moved >= from_position, moved + delta, moved)
        self.move(moved[moved >= 0], self.next_position + delta)


def cache_of(capacity, policy: str) -> HeadCache:
    capacity = np.broadcast_to(np.asarray(capacity, np.int32), (2, 2))
    context = Context(SHAPE, capacity)
    return HeadCache(context, Controller(make_policy(policy), SHAPE, capacity))  # type: ignore[arg-type]


def memory_of(cache: HeadCache, placement: str, n_context: int) -> RollingMemory:
    empty = SimpleNamespace(before_ids=lambda _: [], after_ids=lambda _: [], end_ids=lambda _: [])
    runtime = SimpleNamespace(model=SimpleNamespace(n_ctx_train=n_context), template=empty)
    return RollingMemory(runtime, cache, max_turn_tokens=TURN, placement=placement)  # type: ignore[arg-type]


def hear_turns(memory: RollingMemory, n: int) -> None:
    """Turns of sound and text, as `commit` appends them."""
    for _ in range(n):
        memory._begin()
        memory.cache.append_embeddings(np.zeros((TURN - 10, 4), np.float32))
        memory.cache.append_tokens([1] * 10, Kind.TEXT)
        memory._turn_start = None
        memory.cache.make_room(memory.reserve_tokens)


def times_of(cache: HeadCache) -> np.ndarray:
    return cache.controller.times(cache.context.positions())


RAGGED = [[480, 640], [640, 480]]


@pytest.mark.parametrize("placement", ["order", "log"])
@pytest.mark.parametrize("policy", ["audiokv-edge", "h2o", "streaming-llm"])
def test_hours_pass_within_the_trained_context(placement: str, policy: str) -> None:
    """Far more is heard than there are positions; time, order and the sinks stay known."""
    cache = cache_of(RAGGED, policy)
    memory = memory_of(cache, placement, N_CONTEXT)
    squeezes = 0
    for _ in range(60):
        before = cache.stats.shifts
        hear_turns(memory, 2)
        assert cache.next_position + memory.reserve_tokens <= N_CONTEXT
        squeezes += cache.stats.shifts - before
        times, positions = times_of(cache), cache.context.positions()
        for at in np.ndindex(2, 2):
            n = cache.context.counts[at]
            assert (np.diff(times[at][:n]) > 0).all()
            is_sink = times[at][:n] < 4
            np.testing.assert_array_equal(positions[at][:n][is_sink], times[at][:n][is_sink])
            assert is_sink.sum() == 4 or policy == "h2o"
            assert times[at][n - 1] == cache.controller.now - 1
            # The last turn lies at its true distances.
            recent = times[at][:n] >= cache.controller.now - TURN
            ages = cache.controller.now - times[at][:n][recent]
            assert (cache.next_position - positions[at][:n][recent] == ages).all()
        kinds = cache.controller.view(cache.context, cache.context.counts).kinds
        known = times >= 4
        expected = np.where(times % TURN < TURN - 10, Kind.AUDIO, Kind.TEXT)
        np.testing.assert_array_equal(kinds[known], expected[known])
    assert cache.controller.now == 60 * 2 * TURN
    assert 3 <= squeezes < 30


def test_what_policies_keep_reaches_further_back_than_what_dropping_leaves() -> None:
    oldest = {}
    for placement in ("drop", "order", "log"):
        cache = cache_of(480, "h2o")
        # What the first turns hold is looked at for ever.
        scores = np.zeros((2, 2, 2048), np.float32)
        scores[..., :120] = 1.0
        cache.context.fixed_scores = scores  # type: ignore[attr-defined]
        memory = memory_of(cache, placement, N_CONTEXT)
        for _ in range(80):
            hear_turns(memory, 1)
            cache.ask([1])
            cache.truncate(cache.next_position - 1)
        times = times_of(cache)
        oldest[placement] = int(times[times >= 4].min())
    assert oldest["order"] < TURN and oldest["log"] < TURN
    assert oldest["drop"] > 80 * TURN - N_CONTEXT


@pytest.mark.parametrize("placement", ["order", "log"])
@pytest.mark.parametrize("policy", ["keep-all", "audiokv-edge"])
def test_where_no_row_is_gone_the_oldest_make_room(placement: str, policy: str) -> None:
    cache = cache_of(4096, policy)
    memory = memory_of(cache, placement, N_CONTEXT)
    hear_turns(memory, 50)
    counts = cache.context.counts
    assert (counts == counts[0, 0]).all() and counts[0, 0] <= N_CONTEXT
    assert cache.stats.shifts >= 1 and cache.stats.freed_rows > 0
    times = times_of(cache)
    assert times[0, 0, :4].tolist() == [0, 1, 2, 3]
    if policy == "keep-all":
        # One unbroken stretch behind the sinks, up to now.
        rest = times[0, 0, 4 : counts[0, 0]]
        assert (np.diff(rest) == 1).all() and rest[-1] == 50 * TURN - 1


@pytest.mark.parametrize("placement", ["order", "log", "drop"])
def test_keys_that_cannot_turn_begin_again(placement: str) -> None:
    """Dropping, too, turns what stays: with q4_0 keys a session ended where positions did."""
    cache = cache_of(4096, "audiokv-edge")
    cache.context.type_k = "q4_0"
    memory = memory_of(cache, placement, N_CONTEXT)
    for _ in range(100):
        hear_turns(memory, 1)
        assert cache.next_position + memory.reserve_tokens <= N_CONTEXT
    assert 0 < cache.context.counts.min() < N_CONTEXT
    assert times_of(cache)[0, 0, 0] == 0


@pytest.mark.parametrize("placement", ["order", "log", "drop"])
def test_a_question_leaves_no_trace_in_time(placement: str) -> None:
    cache = cache_of(RAGGED, "audiokv-edge")
    memory = memory_of(cache, placement, N_CONTEXT)
    hear_turns(memory, 60)
    times, now, position = times_of(cache), cache.controller.now, cache.next_position
    cache.ask([1] * 20)
    cache.append_generated([1])
    assert cache.controller.now == now + 21
    cache.truncate(position)
    assert cache.controller.now == now
    np.testing.assert_array_equal(times_of(cache), times)
