"""One table: every policy against every shape of cache."""

from __future__ import annotations

import time

import numpy as np
import pytest

from edge_audiokv.errors import PolicyError
from edge_audiokv.kv.controller import Controller
from edge_audiokv.kv.policy import make_policy, policies
from edge_audiokv.kv.profile import HeadProfile
from edge_audiokv.kv.shape import KVShape
from edge_audiokv.kv.view import Kind

from . import fake_cache

NAMES = list(policies())


def shape_of(n_layer: int, n_kv_head: int, n_group: int = 3) -> KVShape:
    return KVShape(n_layer, n_kv_head, n_group, 32)


def profile_of(shape: KVShape) -> HeadProfile:
    rng = np.random.default_rng(7)
    table = rng.exponential(size=(shape.n_layer, shape.n_kv_head)).astype(np.float32)
    return HeadProfile("test", "0" * 64, {"speech": table, "sound": table[::-1].copy()})


def filled(name, shape, n_tokens, *, prompt=3, seed=0, capacity=10_000, scores=None):
    """A cache of `n_tokens` (prompt, audio, 6 tokens of question), observed twice."""
    cache = fake_cache.NumpyCache(shape, np.full((shape.n_layer, shape.n_kv_head), capacity), seed)
    cache.fixed_scores = scores
    controller = Controller(
        make_policy(name, profile=profile_of(shape)), shape, cache.capacity.astype(np.int32)
    )
    tail = min(6, max(0, n_tokens - prompt - 1))
    for kind, n in (
        (Kind.PROMPT, min(prompt, n_tokens)),
        (Kind.AUDIO, n_tokens - min(prompt, n_tokens) - tail),
        (Kind.PROMPT, tail),
    ):
        if n > 0:
            cache.append(n)
            controller.appended(kind, n)
            controller.observe(cache, n_queries=n, text=kind is not Kind.AUDIO)
    return cache, controller


CASES = {
    "one head": (shape_of(1, 1, 1), 50, 20),
    "GQA": (shape_of(4, 3), 120, 48),
    "T below budget": (shape_of(2, 2), 10, 40),
    "T equals budget": (shape_of(2, 2), 40, 40),
    "budget of one row": (shape_of(2, 2), 30, 1),
    "long": (shape_of(3, 2), 700, 280),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", CASES)
def test_keeps_exactly_the_budget_in_ascending_rows(name, case):
    shape, n_tokens, budget = CASES[case]
    cache, controller = filled(name, shape, n_tokens)
    counts = cache.counts
    targets = np.full(counts.shape, budget, np.int32)
    rows = controller.plan(controller.view(cache, targets))
    expected = counts if name == "keep-all" else np.minimum(counts, targets)
    np.testing.assert_array_equal(rows.count, expected)
    assert rows.index.dtype == np.int32 and rows.index.size == expected.sum()
    for layer in range(shape.n_layer):
        for head in range(shape.n_kv_head):
            index = rows.of(layer, head)
            assert (np.diff(index) > 0).all()
            assert index[0] >= 0 and index[-1] < n_tokens


@pytest.mark.parametrize("name", NAMES)
def test_ragged_counts_and_targets(name):
    shape = shape_of(3, 2)
    cache, controller = filled(name, shape, 100)
    first = np.array([[80, 60], [80, 60], [40, 80]], np.int32)
    if name == "keep-all":
        controller.evict(cache, first)
        assert (cache.counts == 100).all()
        return
    controller.evict(cache, first)
    np.testing.assert_array_equal(cache.counts, first)
    for controller_kind in (Kind.TEXT, Kind.AUDIO):
        cache.append(10)
        controller.appended(controller_kind, 10)
        controller.observe(cache, n_queries=10, text=controller_kind is Kind.TEXT)
    second = np.array([[50, 30], [50, 30], [20, 50]], np.int32)
    controller.evict(cache, second)
    np.testing.assert_array_equal(cache.counts, second)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("special", ["equal", "minus infinity", "not a number", "zero"])
def test_degenerate_scores(name, special):
    shape, n_tokens = shape_of(2, 2), 60
    scores = np.full((2, 2, n_tokens), 1 / n_tokens, np.float32)
    if special == "minus infinity":
        scores[..., ::3] = -np.inf
    elif special == "not a number":
        scores[..., ::3] = np.nan
    elif special == "zero":
        scores[:] = 0
    with np.errstate(invalid="ignore", over="ignore"):
        cache, controller = filled(name, shape, n_tokens, scores=scores)
        targets = np.full((2, 2), 24, np.int32)
        rows = controller.plan(controller.view(cache, targets))
    assert (rows.count == (n_tokens if name == "keep-all" else 24)).all()


@pytest.mark.parametrize("name", NAMES)
def test_same_input_gives_the_same_rows(name):
    shape = shape_of(4, 3)
    plans = []
    for _ in range(2):
        cache, controller = filled(name, shape, 150)
        targets = np.full((4, 3), 60, np.int32)
        plans.append(controller.plan(controller.view(cache, targets)))
    np.testing.assert_array_equal(plans[0].index, plans[1].index)


@pytest.mark.parametrize("name", [n for n in NAMES if n != "keep-all"])
def test_stream_never_overflows_and_the_budget_does_not_grow(name):
    shape = shape_of(3, 2)
    capacity = np.array([[64, 96], [96, 64], [128, 64]], np.int32)
    cache = fake_cache.NumpyCache(shape, capacity)
    controller = Controller(make_policy(name, profile=profile_of(shape)), shape, capacity)
    cache.append(4)
    controller.appended(Kind.PROMPT, 4)
    for step in range(40):
        kind, n = (Kind.AUDIO, 16) if step % 4 else (Kind.TEXT, 5)
        controller.make_room(cache, n)
        cache.append(n)
        controller.appended(kind, n)
        controller.observe(cache, n_queries=n, text=kind is Kind.TEXT)
        assert (cache.counts <= capacity).all()
    assert cache.peak <= capacity.sum()
    assert (cache.counts >= 0.5 * capacity).all(), "room is left unused"


@pytest.mark.parametrize("name", ["streaming-llm", "audiokv-edge", "murmur", "d2o"])
def test_sinks_are_those_of_the_session(name):
    shape = shape_of(2, 2)
    capacity = np.full((2, 2), 64, np.int32)
    cache = fake_cache.NumpyCache(shape, capacity)
    controller = Controller(make_policy(name), shape, capacity)
    for step in range(20):
        controller.make_room(cache, 16)
        cache.append(16)
        controller.appended(Kind.AUDIO if step else Kind.PROMPT, 16)
        controller.observe(cache, n_queries=16, text=False)
    np.testing.assert_array_equal(cache.positions()[..., :4], np.broadcast_to(range(4), (2, 2, 4)))


def test_keep_all_refuses_to_evict_and_changes_nothing():
    shape = shape_of(2, 2)
    cache, controller = filled("keep-all", shape, 60, capacity=64)
    with pytest.raises(PolicyError, match="evicts nothing"):
        controller.make_room(cache, 8)
    assert (cache.counts == 60).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_cost_grows_about_linearly_with_rows(name):
    shape = shape_of(4, 3)

    def cost(n_tokens: int) -> float:
        cache, controller = filled(name, shape, n_tokens)
        view = controller.view(cache, np.full((4, 3), n_tokens // 2, np.int32))
        best = np.inf
        for _ in range(3):
            start = time.process_time()
            controller.plan(view)
            best = min(best, time.process_time() - start)
        return best

    assert cost(4000) < 12 * max(cost(1000), 1e-3)
