"""With any keep lists, logits must equal those of the unpatched cache with the same rows masked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_audiokv.kv.shape import Rows
from edge_audiokv.native.context import HeadwiseContext
from edge_audiokv.native.model import Model
from edge_audiokv.native.stock import StockContext

from .stock import MaskedContext

pytestmark = pytest.mark.integration

PROMPT, CHUNK, STEPS = 300, 24, 6


def random_rows(ours: HeadwiseContext, share: dict[int, float], rng: np.random.Generator) -> Rows:
    """Each head's own random rows; as many for all heads of a level."""
    counts = np.vectorize(lambda level: share[level])(ours.level) * ours.counts
    count = counts.astype(np.int32)
    picks = [
        np.sort(rng.choice(held, n, replace=False))
        for n, held in zip(count.ravel(), ours.counts.ravel(), strict=True)
    ]
    return Rows(np.concatenate(picks).astype(np.int32), count)


def teacher_forced(
    path: Path, model: Model, tokens: NDArray[np.int32], *, type_kv: str, seed: int
) -> tuple[NDArray[np.float32], ...]:
    """Logits after each step: ours evicted twice, stock masked alike, that in f32, whole stock."""
    rng = np.random.default_rng(seed)
    shape = (model.shape.n_layer, model.shape.n_kv_head)
    capacity = rng.choice([320, 384, 448, 512], shape).astype(np.int32)
    steps = [tokens[PROMPT : PROMPT + CHUNK]]
    steps += [tokens[i : i + 1] for i in range(PROMPT + CHUNK, PROMPT + CHUNK + STEPS)]
    hidden = np.zeros((*shape, PROMPT + CHUNK + STEPS), np.bool_)
    nothing = np.zeros_like(hidden)
    kind = {"type_k": type_kv, "type_v": type_kv}

    got: list[list[NDArray[np.float32]]] = [[], [], [], []]
    with (
        HeadwiseContext(model, capacity, **kind, n_threads=1) as ours,
        MaskedContext(path, 512, lambda layer: hidden[layer], **kind) as masked,
        MaskedContext(path, 512, lambda layer: hidden[layer], type_k="f32", type_v="f32") as exact,
        MaskedContext(path, 512, lambda layer: nothing[layer], **kind) as whole,
    ):
        ours.decode_tokens(tokens[:PROMPT], logits=False)
        for stock in (masked, exact, whole):
            stock.decode(tokens[:256])
            stock.decode(tokens[256:PROMPT])
        for number, step in enumerate(steps):
            if number in (0, 3):  # after the prompt, and once more in the middle of decoding
                ours.keep(random_rows(ours, {0: 0.2, 1: 0.4, 2: 0.6, 3: 0.8}, rng))
                held = ours.positions()
                hidden[:] = True
                for index in np.ndindex(shape):
                    hidden[index][held[index][: ours.counts[index]]] = False
                hidden[:, :, ours.next_position :] = False
            logits = ours.decode_tokens(step)
            assert logits is not None
            for column, value in zip(
                got,
                (logits, masked.decode(step), exact.decode(step), whole.decode(step)),
                strict=True,
            ):
                column.append(value)
        # what was evicted is gone: half the rows or so
        assert ours.counts.max() < PROMPT
    return tuple(np.array(column) for column in got)


@pytest.mark.parametrize("seed", [5, 6])
def test_ragged_keep_lists(
    gguf: Path, model_f32: Model, tokens: NDArray[np.int32], seed: int
) -> None:
    """f32 weights, so that the only noise is the cache's f16 and the order of sums.

    The yardstick is the reference's own noise with the same rows hidden, f16 against f32: which
    rows are left decides how far rounding is amplified (fivefold between draws).
    """
    ours, masked, exact, whole = teacher_forced(
        model_f32.path, model_f32, tokens, type_kv="f16", seed=seed
    )
    noise = np.abs(masked - exact).max()
    error = np.abs(ours - masked).max()
    effect = np.abs(masked - whole).max()
    assert effect > 5  # hiding rows changes the logits by far more than noise
    assert error <= 2 * noise + 0.02
    np.testing.assert_array_equal(ours.argmax(1), masked.argmax(1))


def test_equal_keep_lists_against_removal(model_f32: Model, tokens: NDArray[np.int32]) -> None:
    """The same rows dropped from all heads: llama.cpp can do that by itself, cell by cell."""
    kept = np.random.default_rng(6).choice(PROMPT - 1, 180, replace=False)
    kept = np.append(np.sort(kept), PROMPT - 1).astype(np.int32)  # stock counts on from the last
    shape = (model_f32.shape.n_layer, model_f32.shape.n_kv_head)
    rows = Rows(np.tile(kept, shape[0] * shape[1]), np.full(shape, kept.size, np.int32))
    with (
        HeadwiseContext(model_f32, 384, n_threads=1) as ours,
        StockContext(model_f32.path, 512) as stock,
    ):
        ours.decode_tokens(tokens[:PROMPT])
        stock.decode(tokens[:256])
        stock.decode(tokens[256:PROMPT])
        ours.keep(rows)
        memory = stock.llama.llama_get_memory(stock.ctx)
        for gone in np.setdiff1d(np.arange(PROMPT), kept):
            assert stock.llama.llama_memory_seq_rm(memory, 0, int(gone), int(gone) + 1)
        for step in (tokens[PROMPT : PROMPT + 24], tokens[PROMPT + 24 : PROMPT + 25]):
            logits = ours.decode_tokens(step)
            np.testing.assert_allclose(logits, stock.decode(step), rtol=0, atol=0.15)
