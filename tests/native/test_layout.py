"""Capacities, levels and bytes before anything is allocated."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_audiokv.errors import NativeError
from edge_audiokv.native.context import HeadwiseContext
from edge_audiokv.native.model import Model

from . import tiny


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    path = tiny.write(tmp_path_factory.mktemp("tiny") / "tiny.gguf", "llama", n_head_kv=4)
    with Model(path) as model:
        yield model


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    wanted=st.lists(st.integers(1, 2000), min_size=8, max_size=8),
    max_levels=st.integers(1, 16),
)
def test_levels_are_few_and_cheap(small: Model, wanted: list[int], max_levels: int) -> None:
    want = np.array(wanted, np.int32).reshape(2, 4)
    capacity, level, pool_bytes = HeadwiseContext(small, want, max_levels=max_levels).plan()
    aligned = -(-want // 64) * 64

    assert (capacity >= want).all()
    assert (capacity % 64 == 0).all()
    values = np.unique(capacity)
    assert values.size <= max_levels
    assert level.min() == 0
    # equal level, equal capacity; a larger level is a larger capacity
    assert len(np.unique(np.stack([level, capacity]).reshape(2, -1), axis=1).T) == values.size
    assert (
        np.argsort(level.ravel(), kind="stable") == np.argsort(capacity.ravel(), kind="stable")
    ).all()
    assert pool_bytes == capacity.sum() * small.shape.row_bytes

    # no other choice of upper bounds adds fewer rows
    distinct = np.unique(aligned)
    n = min(max_levels, distinct.size)
    best = min(
        int(np.array(chosen)[np.searchsorted(chosen, aligned)].sum())
        for chosen in combinations(distinct, n)
        if chosen[-1] == distinct[-1]
    )
    assert capacity.sum() == best


def test_what_is_planned_is_allocated(small: Model) -> None:
    want = np.array([[64, 100, 300, 700], [64, 64, 900, 128]], np.int32)
    context = HeadwiseContext(small, want, max_levels=3, n_threads=1)
    capacity, level, pool_bytes = context.plan()
    with context:
        np.testing.assert_array_equal(context.capacity, capacity)
        np.testing.assert_array_equal(context.level, level)
        assert context.pool_nbytes == pool_bytes
        assert context.nbytes > pool_bytes
        assert context.free_rows == capacity.min()
        assert not context.counts.any()
        assert context.next_position == 0


@pytest.mark.parametrize(
    ("capacity", "options", "what"),
    [
        (0, {}, "at least one row"),
        (-5, {}, "at least one row"),
        (2**31 - 1, {}, "at least one row"),
        (np.ones((3, 4), np.int32), {}, r"\[3, 4\], the model has 2 layers of 4"),
        (64, {"max_levels": 0}, "max_levels must be 1 to 16"),
        (64, {"max_levels": 17}, "max_levels must be 1 to 16"),
        (64, {"score_window": -1}, "score_window must not be negative"),
    ],
)
def test_bad_layouts(small: Model, capacity: object, options: dict[str, int], what: str) -> None:
    context = HeadwiseContext(small, capacity, **options)  # type: ignore[arg-type]
    for call in (context.plan, context.load):
        with pytest.raises(NativeError, match=what):
            call()


def test_bad_options(small: Model) -> None:
    with pytest.raises(NativeError, match="Unknown row type 'q5_1'"):
        HeadwiseContext(small, 64, type_k="q5_1")
    with pytest.raises(NativeError, match="at least 1"):
        HeadwiseContext(small, 64, n_batch=0)
