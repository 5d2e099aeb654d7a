"""Eviction, appending and rollback against a plain list of rows per head, in random order."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_audiokv.errors import CacheFullError, NativeError
from edge_audiokv.kv.shape import Rows
from edge_audiokv.native.context import HeadwiseContext
from edge_audiokv.native.model import Model

pytestmark = pytest.mark.integration

N_START = 40


@pytest.fixture(scope="module", params=["f16", "q8_0", "q4_0"])
def ours(request: pytest.FixtureRequest, model: Model) -> Iterator[HeadwiseContext]:
    shape = (model.shape.n_layer, model.shape.n_kv_head)
    capacity = np.random.default_rng(9).choice([64, 128, 192], shape)
    row_type = request.param
    with HeadwiseContext(
        model, capacity, type_k=row_type, type_v=row_type, n_threads=1, n_batch=64
    ) as context:
        yield context


class Shadow:
    """What each head should hold: positions, keys and values copied when they were appended."""

    def __init__(self, ours: HeadwiseContext) -> None:
        self.ours = ours
        self.heads = list(np.ndindex(ours.capacity.shape))[::11]  # enough of them, of every level
        self.positions = {
            head: [int(p) for p in ours.positions()[head][: ours.counts[head]]]
            for head in np.ndindex(ours.capacity.shape)
        }
        self.keys: dict[tuple[int, ...], NDArray[np.float32]] = {}
        self.values: dict[tuple[int, ...], NDArray[np.float32]] = {}
        self.note_rows()

    def note_rows(self) -> None:
        for head in self.heads:
            self.keys[head] = self.ours.read_keys(*head)
            self.values[head] = self.ours.read_values(*head)

    def check(self) -> None:
        positions, counts = self.ours.positions(), self.ours.counts
        for head, expected in self.positions.items():
            assert list(positions[head][: counts[head]]) == expected
            assert (positions[head][counts[head] :] == -1).all()
        for head in self.heads:
            np.testing.assert_array_equal(self.ours.read_keys(*head), self.keys[head])
            np.testing.assert_array_equal(self.ours.read_values(*head), self.values[head])
        assert self.ours.free_rows == (self.ours.capacity - counts).min()


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_any_order_of_operations(
    ours: HeadwiseContext, tokens: NDArray[np.int32], data: st.DataObject
) -> None:
    ours.clear()
    ours.decode_tokens(tokens[:N_START], logits=False)
    shadow = Shadow(ours)
    shared_from = 0  # positions from here on are held by every head
    for _ in range(data.draw(st.integers(1, 4))):
        action = data.draw(st.sampled_from(["keep", "append", "truncate"]))
        if action == "keep":
            rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
            n_level = ours.level.max() + 1
            share = [data.draw(st.floats(0, 1)) for _ in range(n_level)]
            mask = np.zeros((*ours.counts.shape, ours.counts.max()), np.bool_)
            for head in np.ndindex(ours.counts.shape):
                held = ours.counts[head]
                n = round(share[ours.level[head]] * held)
                mask[head][rng.choice(held, n, replace=False)] = True
            rows = Rows.from_mask(mask)
            ours.keep(rows)
            for head in shadow.positions:
                kept = rows.of(*head)
                shadow.positions[head] = [shadow.positions[head][row] for row in kept]
                if head in shadow.keys:
                    shadow.keys[head] = shadow.keys[head][kept]
                    shadow.values[head] = shadow.values[head][kept]
            shared_from = ours.next_position
        elif action == "append":
            n = data.draw(st.integers(1, 6))
            if n > ours.free_rows:
                with pytest.raises(CacheFullError, match="do not fit"):
                    ours.decode_tokens(tokens[:n])
                continue
            first = ours.next_position
            ours.decode_tokens(tokens[:n], logits=False)
            before = {head: len(held) for head, held in shadow.positions.items()}
            for held in shadow.positions.values():
                held.extend(range(first, first + n))
            for head in shadow.heads:  # old rows did not move
                keys = ours.read_keys(*head)
                np.testing.assert_array_equal(keys[: before[head]], shadow.keys[head])
            shadow.note_rows()
        else:
            position = data.draw(st.integers(shared_from, ours.next_position))
            ours.truncate(position)
            assert ours.next_position == position
            for held in shadow.positions.values():
                held[:] = [p for p in held if p < position]
            for head in shadow.heads:
                n = len(shadow.positions[head])
                shadow.keys[head], shadow.values[head] = (
                    shadow.keys[head][:n],
                    shadow.values[head][:n],
                )
        shadow.check()


def test_keeping_all_changes_nothing(ours: HeadwiseContext, tokens: NDArray[np.int32]) -> None:
    outcomes = []
    for keep in (False, True):
        ours.clear()
        ours.decode_tokens(tokens[:N_START])
        if keep:
            n = ours.counts.size
            ours.keep(Rows(np.tile(np.arange(N_START, dtype=np.int32), n), ours.counts))
        outcomes.append(ours.decode_tokens(tokens[N_START : N_START + 8]))
    np.testing.assert_array_equal(*outcomes)


def test_freed_rows_serve_new_tokens(ours: HeadwiseContext, tokens: NDArray[np.int32]) -> None:
    """Far more tokens than rows, in the memory of the beginning."""
    ours.clear()
    nbytes = ours.nbytes
    for start in range(0, 320, 16):
        if ours.free_rows < 16:
            # the last half of each head, as many as its level has
            count = (ours.capacity // 2).clip(max=ours.counts)
            rows = [
                np.arange(c - k, c) for c, k in zip(ours.counts.ravel(), count.ravel(), strict=True)
            ]
            ours.keep(Rows(np.concatenate(rows).astype(np.int32), count.astype(np.int32)))
        ours.decode_tokens(tokens[start : start + 16], logits=False)
    assert ours.next_position == 320
    assert (ours.counts <= ours.capacity).all()
    assert ours.nbytes == nbytes
    last = ours.positions()
    for head in np.ndindex(ours.counts.shape):
        assert last[head][ours.counts[head] - 1] == 319


def test_going_back_past_an_eviction(ours: HeadwiseContext, tokens: NDArray[np.int32]) -> None:
    """Possible while heads of a level hold equally many rows before the position; else refused."""
    ours.clear()
    ours.decode_tokens(tokens[:N_START])
    n = ours.counts.size
    odd_even = [np.arange(i % 2, N_START, 2) for i in range(n)]
    ours.keep(Rows(np.concatenate(odd_even).astype(np.int32), np.full_like(ours.counts, 20)))
    before = ours.positions()
    with pytest.raises(NativeError, match="different numbers of rows"):
        ours.truncate(11)
    np.testing.assert_array_equal(ours.positions(), before)
    ours.truncate(10)
    assert (ours.counts == 5).all()
    assert ours.next_position == 10
