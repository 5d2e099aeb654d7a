"""With nothing evicted, a head-wise cache must give the very logits of the stock cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_audiokv.native.context import HeadwiseContext
from edge_audiokv.native.model import Model
from edge_audiokv.native.stock import StockContext

pytestmark = pytest.mark.integration

CHUNKS = [256, 64, 15, 1, 1, 1, 1, 1]
ROW_TYPES = [("f16", "f16"), ("q8_0", "q8_0"), ("q4_0", "q4_0"), ("q8_0", "f16")]


def ragged(model: Model, low: int, high: int, seed: int) -> NDArray[np.int32]:
    """Random capacities of four sizes."""
    shape = (model.shape.n_layer, model.shape.n_kv_head)
    sizes = np.linspace(low, high, 4).astype(np.int32)
    return np.random.default_rng(seed).choice(sizes, shape)


@pytest.mark.parametrize("spread", ["uniform", "ragged"])
@pytest.mark.parametrize(("type_k", "type_v"), ROW_TYPES)
def test_tokens_bitwise(
    gguf: Path, model: Model, tokens: NDArray[np.int32], type_k: str, type_v: str, spread: str
) -> None:
    capacity = 512 if spread == "uniform" else ragged(model, 384, 1024, seed=1)
    with (
        StockContext(gguf, 512, type_k=type_k, type_v=type_v) as stock,
        HeadwiseContext(model, capacity, type_k=type_k, type_v=type_v, n_threads=1) as ours,
    ):
        start = 0
        for size in CHUNKS:
            chunk = tokens[start : start + size]
            start += size
            logits = ours.decode_tokens(chunk, score=size == 64)  # scoring must change nothing
            np.testing.assert_array_equal(logits, stock.decode(chunk))


@pytest.mark.parametrize("rows", ["f16", "q8_0"])
def test_embeddings_bitwise(gguf: Path, model: Model, rows: str) -> None:
    rng = np.random.default_rng(2)
    emb = rng.normal(0, 0.1, (90, model.n_embd)).astype(np.float32)
    capacity = ragged(model, 128, 320, seed=3)
    with (
        StockContext(gguf, 256, type_k=rows, type_v=rows) as stock,
        HeadwiseContext(model, capacity, type_k=rows, type_v=rows, n_threads=1) as ours,
    ):
        for part in (emb[:60], emb[60:]):
            logits = ours.decode_embeddings(part, logits=True)
            np.testing.assert_array_equal(logits, stock.decode(None, part))
        for token in (11, 12, 13):
            np.testing.assert_array_equal(ours.decode_tokens([token]), stock.decode([token]))


def test_long_input_is_split(model: Model, tokens: NDArray[np.int32]) -> None:
    """A chunk larger than the micro-batch gives what its parts give."""
    with HeadwiseContext(model, 512, n_threads=1, n_batch=64) as ours:
        whole = ours.decode_tokens(tokens[:200])
        ours.clear()
        assert ours.decode_tokens(tokens[:192], logits=False) is None
        np.testing.assert_array_equal(ours.decode_tokens(tokens[192:200]), whole)
        assert ours.next_position == 200


def test_all_logits_are_the_single_ones(model: Model, tokens: NDArray[np.int32]) -> None:
    with HeadwiseContext(model, 128, n_threads=1, n_outputs=16) as ours:
        together = ours.decode_tokens(tokens[:40], all_logits=True)
        assert together is not None
        assert together.shape == (40, model.n_vocab)
        ours.clear()
        ends = [ours.decode_tokens(tokens[a:b]) for a, b in ((0, 16), (16, 32), (32, 40))]
        np.testing.assert_array_equal(together[[15, 31, 39]], ends)


def test_two_threads_give_the_same_words(model: Model, tokens: NDArray[np.int32]) -> None:
    """Threads meet at barriers that sleep; sums split over threads differ in the last bits only."""
    best = []
    for n_threads in (1, 2):
        with HeadwiseContext(model, 256, n_threads=n_threads) as ours:
            best.append(ours.decode_tokens(tokens[:200]))
    one, two = best
    assert one is not None and two is not None
    assert np.corrcoef(one, two)[0, 1] > 0.999


def test_stock_context_of_the_patched_library(
    gguf: Path, tokens: NDArray[np.int32], model: Model
) -> None:
    """llama_init_from_model of our library stays what it was."""
    with (
        StockContext(gguf, 256) as unpatched,
        StockContext(gguf, 256, llama=model.library.llama) as patched,
    ):
        for part in (tokens[:128], tokens[128:129]):
            np.testing.assert_array_equal(unpatched.decode(part), patched.decode(part))
