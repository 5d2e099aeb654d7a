"""Rows of another cache, appended: what was read alone is remembered without being read again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_audiokv.errors import NativeError
from edge_audiokv.kv.shape import IntArray, Rows
from edge_audiokv.native.context import HeadwiseContext
from edge_audiokv.native.model import Model

from .test_masked import random_rows

pytestmark = pytest.mark.integration

START, TURN = 70, 40


def all_rows(context: HeadwiseContext) -> NDArray[np.float32]:
    """Keys and values [2, L, H, T, D] of a context whose heads hold equally many rows."""
    shape = context.shape
    return np.stack(
        [
            [[read(il, h) for h in range(shape.n_kv_head)] for il in range(shape.n_layer)]
            for read in (context.read_keys, context.read_values)
        ]
    )


@pytest.mark.parametrize(("rows", "tolerance"), [("f16", 0.005), ("q8_0", 0.05)])
def test_appended_rows_are_those_of_a_turn_read_alone_at_its_place(
    model_f32: Model, tokens: NDArray[np.int32], rows: str, tolerance: float
) -> None:
    turn = tokens[START : START + TURN]
    settings = {"type_k": rows, "type_v": rows, "n_threads": 1}
    none = np.zeros((model_f32.shape.n_layer, model_f32.shape.n_kv_head), np.int32)
    with HeadwiseContext(model_f32, 128, **settings) as there:
        # The reference: as many tokens pass as come before, and nothing of them stays.
        there.decode_tokens(tokens[:START], logits=False)
        there.keep(Rows(np.empty(0, np.int32), none))
        there.decode_tokens(turn, logits=False)
        expected, positions = all_rows(there), there.positions()

    with (
        HeadwiseContext(model_f32, 192, **settings) as memory,
        HeadwiseContext(model_f32, 64, **settings) as scratch,
    ):
        memory.decode_tokens(tokens[:START], logits=False)
        before = all_rows(memory)
        scratch.decode_tokens(turn, logits=False)
        scratch.shift(memory.next_position)
        memory.append_rows(scratch)

        assert (memory.counts == START + TURN).all()
        assert memory.next_position == START + TURN
        np.testing.assert_array_equal(memory.positions()[..., START:], positions)
        found = all_rows(memory)
        np.testing.assert_array_equal(found[..., :START, :], before)
        np.testing.assert_array_equal(found[..., START:, :], all_rows(scratch))
        wrong = np.linalg.norm(found[..., START:, :] - expected, axis=(-2, -1))
        assert (wrong <= tolerance * np.linalg.norm(expected, axis=(-2, -1))).all()


def test_an_empty_cache_becomes_the_other(model: Model, tokens: NDArray[np.int32]) -> None:
    capacity = np.random.default_rng(21).choice([128, 192], (30, 3))
    with (
        HeadwiseContext(model, capacity, n_threads=1) as memory,
        HeadwiseContext(model, 64, n_threads=1) as scratch,
    ):
        scratch.decode_tokens(tokens[:TURN], logits=False)
        memory.append_rows(scratch)
        np.testing.assert_array_equal(
            memory.decode_tokens(tokens[TURN : TURN + 1]),
            scratch.decode_tokens(tokens[TURN : TURN + 1]),
        )
        memory.truncate(TURN)
        memory.keep(random_rows(memory, {0: 0.5, 1: 0.7}, np.random.default_rng(22)))
        scratch.clear()
        scratch.decode_tokens(tokens[:5], logits=False)
        scratch.shift(memory.next_position)
        counts = memory.counts
        memory.append_rows(scratch)
        np.testing.assert_array_equal(memory.counts, counts + 5)
        scratch.clear()
        memory.append_rows(scratch)  # nothing to append
        np.testing.assert_array_equal(memory.counts, counts + 5)


def test_refusals(model: Model, model_f32: Model, tokens: NDArray[np.int32]) -> None:
    shape = (model.shape.n_layer, model.shape.n_kv_head)
    with (
        HeadwiseContext(model, 64, n_threads=1) as memory,
        HeadwiseContext(model, 64, n_threads=1) as scratch,
        HeadwiseContext(model, 64, type_k="q8_0", n_threads=1) as other_rows,
        HeadwiseContext(model_f32, 64, n_threads=1) as other_model,
    ):
        for context in (memory, scratch, other_rows, other_model):
            context.decode_tokens(tokens[:30], logits=False)
        before = all_rows(memory)

        def too_many() -> None:
            scratch.shift(30)
            scratch.decode_tokens(tokens[:10], logits=False)
            memory.append_rows(scratch)

        def uneven() -> None:
            count = np.full(shape, 20, np.int32)
            with HeadwiseContext(model, levels(shape), n_threads=1) as cut:
                cut.decode_tokens(tokens[:30], logits=False)
                count[cut.level == 0] = 10
                cut.keep(Rows(np.concatenate([np.arange(n) for n in count.ravel()]), count))
                cut.shift(30)
                memory.append_rows(cut)

        def from_below() -> None:
            with HeadwiseContext(model, 64, n_threads=1) as low:
                low.decode_tokens(tokens[:40], logits=False)
                low.shift(10)
                memory.append_rows(low)

        refused: list[tuple[Callable[[], None], str]] = [
            (lambda: memory.append_rows(memory), "its own source"),
            (lambda: memory.append_rows(other_rows), "same model and row types"),
            (lambda: memory.append_rows(other_model), "same model and row types"),
            (lambda: memory.append_rows(scratch), "position 0 cannot follow position 29"),
            (from_below, "position 10 cannot follow position 29"),
            (too_many, "10 of 64 are taken|40 more rows do not fit"),
            (uneven, "get another number"),
            (lambda: memory.append_rows(HeadwiseContext(model, 64)), "not loaded"),
        ]
        for call, why in refused:
            with pytest.raises(NativeError, match=why):
                call()
            assert (memory.counts == 30).all()
            assert memory.next_position == 30
            np.testing.assert_array_equal(all_rows(memory), before)


def levels(shape: tuple[int, int]) -> IntArray:
    """Capacities of two levels."""
    return np.where(np.indices(shape).sum(0) % 2, 64, 128).astype(np.int32)
