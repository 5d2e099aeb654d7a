"""Which architectures are served, on tiny random models; the served ones equal the stock cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_audiokv.errors import ModelError, NativeError
from edge_audiokv.native.context import HeadwiseContext
from edge_audiokv.native.model import Model
from edge_audiokv.native.stock import StockContext

from . import tiny


@pytest.mark.parametrize("n_head_kv", [1, 2, 4])
@pytest.mark.parametrize("arch", ["llama", "qwen2", "qwen3"])
def test_served(tmp_path: Path, arch: str, n_head_kv: int) -> None:
    path = tiny.write(tmp_path / "tiny.gguf", arch, n_head_kv=n_head_kv)
    rng = np.random.default_rng(17)
    ids = rng.integers(0, tiny.N_VOCAB, 200).astype(np.int32)
    with (
        Model(path) as model,
        HeadwiseContext(
            model, rng.choice([256, 512], (tiny.N_LAYER, n_head_kv)), n_threads=1
        ) as ours,
        StockContext(path, 512) as stock,
    ):
        assert model.shape.n_kv_head == n_head_kv
        assert model.shape.n_group == tiny.N_HEAD // n_head_kv
        for part in (ids[:150], ids[150:199], ids[199:]):
            logits = ours.decode_tokens(part, score=True)
            np.testing.assert_array_equal(logits, stock.decode(part))
        np.testing.assert_allclose(ours.scores().sum(-1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("arch", "reason"),
    [
        ("gemma3", "sliding-window"),
        ("mpt", "ALiBi"),
        ("mamba", "recurrent state"),
        ("deepseek2", "one latent key"),
    ],
)
def test_refused_with_the_reason(tmp_path: Path, arch: str, reason: str) -> None:
    n_head_kv = 1 if arch == "deepseek2" else tiny.N_KV
    path = tiny.write(tmp_path / "tiny.gguf", arch, n_head_kv=n_head_kv)
    with Model(path) as model:
        with pytest.raises(ModelError, match=f"'{arch}'.*{reason}") as caught:
            _ = model.shape
        assert "\n" not in str(caught.value)
        with pytest.raises(ModelError, match=reason):
            HeadwiseContext(model, 64).load()


def test_quantised_rows_need_whole_blocks(tmp_path: Path) -> None:
    path = tiny.write(tmp_path / "tiny.gguf", "llama")
    with (
        Model(path) as model,
        pytest.raises(NativeError, match="multiple of 32, not 16"),
        HeadwiseContext(model, 64, type_k="q8_0"),
    ):
        pass
