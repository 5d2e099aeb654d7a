from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_audiokv.errors import MemoryBudgetError, PolicyError
from edge_audiokv.kv.budget import allocate, joint_top, pyramid, rows_in, water_fill
from edge_audiokv.kv.shape import KVShape


def test_water_fill_by_hand():
    # Weights 1:2:5 of 80: 10, 20, 50; the last is capped at 30, its 20 go 1:2 to the others.
    x = water_fill(np.array([1.0, 2.0, 5.0]), 80, np.zeros(3), np.array([100.0, 100, 30]))
    np.testing.assert_allclose(x, [50 / 3, 100 / 3, 30], atol=1e-3)


def test_water_fill_gives_the_rest_to_heads_of_weight_zero():
    x = water_fill(np.array([0.0, 0.0, 1.0]), 50, np.zeros(3), np.array([100.0, 100, 10]))
    np.testing.assert_allclose(x, [20, 20, 10], atol=1e-3)


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 12),
    st.integers(1, 6),
    st.integers(0, 2**32 - 1),
    st.floats(0.05, 1.3),
    st.sampled_from([1, 16, 64]),
    st.sampled_from([2, 4, 8]),
    st.floats(0.0, 0.6),
    st.floats(0.3, 3.0),
)
def test_allocation_holds_its_promises(n_l, n_h, seed, share, multiple, levels, floor_share, temp):
    rng = np.random.default_rng(seed)
    weights = rng.lognormal(sigma=1.5, size=(n_l, n_h)) * (rng.random((n_l, n_h)) > 0.2)
    available = 40 * multiple
    total = int(share * n_l * n_h * available)
    try:
        rows = allocate(
            weights,
            total,
            available=available,
            floor_rows=5,
            floor_share=floor_share,
            temperature=temp,
            levels=levels,
            row_multiple=multiple,
        )
    except MemoryBudgetError:
        assert total < n_l * n_h * -(-5 // multiple) * multiple
        return
    assert rows.sum() <= total
    assert (rows % multiple == 0).all()
    assert (rows >= 5).all() and (rows <= available).all()
    assert len(np.unique(rows)) <= levels
    wanted = min(total, n_l * n_h * available)
    assert wanted - rows.sum() < multiple + max(0.03 * wanted, 0)
    order = np.argsort(weights.ravel(), kind="stable")
    ordered_weights, ordered = weights.ravel()[order], rows.ravel()[order]
    for i in range(1, ordered.size):
        if ordered_weights[i] > ordered_weights[i - 1]:
            assert ordered[i] >= ordered[i - 1]


def test_more_budget_than_rows_fills_every_head():
    rows = allocate(np.array([[1.0, 9.0]]), 10_000, available=128, row_multiple=64)
    np.testing.assert_array_equal(rows, [[128, 128]])


def test_heavy_tail_spends_97_percent_of_real_budgets():
    rng = np.random.default_rng(0)
    weights = rng.lognormal(sigma=2, size=(36, 2))
    total = int(0.4 * 72 * 7500)
    rows = allocate(weights, total, available=7500, floor_share=0.25, row_multiple=64)
    assert 0.97 * total <= rows.sum() <= total


def test_too_small_a_budget_names_the_smallest():
    with pytest.raises(MemoryBudgetError, match="400 rows are needed"):
        allocate(np.ones((2, 2)), 399, available=1000, floor_rows=100)


def test_bad_weights_are_refused():
    with pytest.raises(PolicyError, match="finite"):
        allocate(np.array([[1.0, np.nan]]), 100, available=100)


def test_rows_in_bytes():
    shape = KVShape(30, 3, 3, 64)
    assert rows_in(1_000_000, shape) == 1_000_000 // 256
    with pytest.raises(MemoryBudgetError) as error:
        rows_in(1000, shape)
    assert error.value.required_bytes == 90 * 256


def test_pyramid_by_hand():
    # beta 20: least 1/20, most 2 - 1/20, linear between; mean 1.
    table = pyramid(3, 2, beta=20)
    np.testing.assert_allclose(table[:, 0], [1.95, 1.0, 0.05], atol=1e-6)
    np.testing.assert_allclose(table.mean(), 1.0, atol=1e-6)


def test_joint_top_by_hand():
    scores = np.array([[[9, 8, 7, 1.0], [6, 2, 3, 0.0]]], np.float32)
    counts = np.array([[4, 4]], np.int32)
    # Pool 2 * 2 = 4 rows: 9, 8, 7 of head 0, 6 of head 1.
    np.testing.assert_allclose(joint_top(scores, counts, 2, floor=0.0), [[3, 1]])
    np.testing.assert_allclose(joint_top(scores, counts, 2, floor=0.5), [[2.5, 1.5]])
