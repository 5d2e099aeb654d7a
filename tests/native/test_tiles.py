"""Attention over tiles of rows: any number of queries at a time must say what one at a time says.

A tile holds the queries of all heads that share rows (patches/0005-shared-tiles.patch). One token
of a model whose heads share none is attended to by upstream's own loop over rows: the reference.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_audiokv.kv.shape import FloatArray
from edge_audiokv.native.context import HeadwiseContext
from edge_audiokv.native.model import Model

from . import tiny

pytestmark = pytest.mark.integration

N_TOKENS = 150
# Head dimensions that are whole vectors, whole blocks, or neither.
KINDS = [(16, "f16"), (32, "q8_0"), (40, "f16"), (64, "q4_0"), (128, "f16"), (128, "q8_0")]


def decoded(path: Path, sizes: list[int], rows: str, n_threads: int = 1) -> FloatArray:
    """Logits [N, V] of the same tokens, `sizes` of them at a time, over and over."""
    ids = np.random.default_rng(1).integers(0, tiny.N_VOCAB, N_TOKENS)
    logits: list[FloatArray] = []
    kinds = {"type_k": rows, "type_v": rows, "n_threads": n_threads}
    with (
        Model(path) as model,
        HeadwiseContext(model, 192, **kinds, n_outputs=128, n_batch=128) as context,
    ):
        start = 0
        while start < N_TOKENS:
            part = ids[start : start + sizes[len(logits) % len(sizes)]]
            out = context.decode_tokens(part, all_logits=True)
            assert out is not None
            logits.append(out)
            start += len(part)
    return np.concatenate(logits)


def rms(values: FloatArray) -> float:
    return float(np.sqrt((values**2).mean()))


@pytest.mark.parametrize(("head_dim", "rows"), KINDS)
def test_heads_that_share_rows_say_what_each_says_alone(
    tmp_path: Path, head_dim: int, rows: str
) -> None:
    kinds = {"n_head": 6, "n_head_kv": 2, "head_dim": head_dim}
    shared = tiny.write(tmp_path / "shared.gguf", "qwen3", **kinds)
    alone = tiny.write(tmp_path / "alone.gguf", "qwen3", copies=3, **kinds)
    loop = decoded(alone, [1], rows)
    # The loop sums f16 rows in f16 and rounds queries to the type of quantised rows; tiles do
    # neither. Upstream's own tiles of 64 f16 rows are as far from its loop; of quantised rows they
    # must be nearer to it than rounding the rows has moved it.
    exact = decoded(alone, [1], "f16")
    near = 0.004 if rows == "f16" else rms(loop - exact)
    first = decoded(shared, [1], rows)
    assert loop.std() > 1 and rms(first - loop) < near
    for path, sizes in [
        (alone, [2]),
        (shared, [12, 1, 3]),
        (shared, [21, 22]),
        (alone, [40, 63]),
        (shared, [64]),
        (shared, [128]),
    ]:
        got = decoded(path, sizes, rows)
        # A draft's tokens at once say what they say one by one; sums of the weights still differ.
        assert rms(got - first) < 1e-3, sizes
        assert rms(got - loop) < near, sizes


@pytest.mark.parametrize("rows", ["f16", "q8_0"])
def test_tiles_of_any_cut_are_equal(tmp_path: Path, rows: str) -> None:
    """Threads cut the queries into other tiles; what a query says does not depend on its tile."""
    path = tiny.write(tmp_path / "shared.gguf", "qwen3", n_head=6, n_head_kv=2, head_dim=32)
    alone = decoded(path, [21, 1, 50], rows)
    for n_threads in (2, 3):
        np.testing.assert_array_equal(decoded(path, [21, 1, 50], rows, n_threads), alone)
