"""Sums of squares against a forward pass written here, in float64 and with no llama.cpp."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_audiokv.errors import NativeError
from edge_audiokv.native.activations import WatchedContext
from edge_audiokv.native.compute import ComputeDevice
from edge_audiokv.native.model import Model

from . import tiny

pytestmark = pytest.mark.integration
Array = NDArray[np.float64]


def test_what_goes_into_every_matrix_is_what_the_formulas_give(tmp_path: Path) -> None:
    path = tiny.write(tmp_path / "t.gguf", "llama")
    rng = np.random.default_rng(4)
    sound = rng.normal(0, 1, (21, tiny.N_EMBD)).astype(np.float32)
    ids = [3, 9, 27, 1, 60]
    with Model(path) as model, WatchedContext(
        model, 64, n_batch=8, n_outputs=8, n_threads=1
    ) as context:  # fmt: skip
        context.decode_embeddings(sound, all_logits=True)
        context.decode_tokens(ids, all_logits=True)
        found, counts = dict(context.square_sums), dict(context.row_counts)
    weights = {
        tensor.name: np.asarray(tensor.data, np.float64) for tensor in gguf.GGUFReader(path).tensors
    }
    rows = np.concatenate([sound.astype(np.float64), weights["token_embd.weight"][ids]])
    expected = inputs(weights, rows)
    assert set(found) == set(expected) and len(found) == 7 * tiny.N_LAYER
    for name, values in expected.items():
        assert counts[name] == len(values) == 26
        assert np.allclose(found[name], (values**2).sum(0), rtol=1e-2), name


def inputs(weights: dict[str, Array], rows: Array) -> dict[str, Array]:
    """What each matrix of a Llama is multiplied with, [T, N]."""
    found = {}
    n_tokens, dim = len(rows), tiny.N_EMBD // tiny.N_HEAD
    group = tiny.N_HEAD // tiny.N_KV
    for layer in range(tiny.N_LAYER):
        block = f"blk.{layer}."

        def times(name: str, x: Array, block: str = block) -> Array:
            found[f"{block}{name}.weight"] = x
            return np.asarray(x @ weights[f"{block}{name}.weight"].T)

        x = norm(rows, weights[f"{block}attn_norm.weight"])
        q = turned(times("attn_q", x).reshape(n_tokens, tiny.N_HEAD, dim))
        k = turned(times("attn_k", x).reshape(n_tokens, tiny.N_KV, dim))
        v = times("attn_v", x).reshape(n_tokens, tiny.N_KV, dim)
        heard = np.zeros((n_tokens, tiny.N_HEAD, dim))
        for head in range(tiny.N_HEAD):
            for t in range(n_tokens):
                scores = k[: t + 1, head // group] @ q[t, head] / np.sqrt(dim)
                weight = np.exp(scores - scores.max())
                heard[t, head] = weight @ v[: t + 1, head // group] / weight.sum()
        rows = rows + times("attn_output", heard.reshape(n_tokens, -1))
        x = norm(rows, weights[f"{block}ffn_norm.weight"])
        gate, up = times("ffn_gate", x), times("ffn_up", x)
        rows = rows + times("ffn_down", gate / (1 + np.exp(-gate)) * up)
    return found


def norm(rows: Array, weight: Array) -> Array:
    return np.asarray(rows / np.sqrt((rows**2).mean(1, keepdims=True) + 1e-5) * weight)


def turned(rows: Array) -> Array:
    """RoPE of pairs of neighbours, [T, H, D]."""
    n_tokens, _, dim = rows.shape
    angle = np.arange(n_tokens)[:, None] / 10000 ** (np.arange(0, dim, 2) / dim)
    pairs = (rows[..., 0::2] + 1j * rows[..., 1::2]) * np.exp(1j * angle)[:, None]
    return np.stack([pairs.real, pairs.imag], -1).reshape(rows.shape)


def test_ctrl_c_within_a_node_ends_the_call(tmp_path: Path, monkeypatch: Any) -> None:
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    model = Model(tiny.write(tmp_path / "t.gguf", "llama"))
    with model, WatchedContext(model, 64, n_threads=1) as context:
        monkeypatch.setattr(context, "_add", interrupted)
        with pytest.raises(KeyboardInterrupt):
            context.decode_tokens([1, 2, 3])
        monkeypatch.undo()
        context.truncate(0)
        context.decode_tokens([1, 2, 3])
        assert context.row_counts["blk.0.attn_q.weight"] == 3


def test_layers_on_a_device_are_refused(tmp_path: Path) -> None:
    with Model(tiny.write(tmp_path / "t.gguf", "llama")) as model:
        model.device = ComputeDevice.__new__(ComputeDevice)
        with pytest.raises(NativeError, match="on the CPU alone"):
            WatchedContext(model, 64, n_threads=1).load()
