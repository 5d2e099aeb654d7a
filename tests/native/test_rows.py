"""Reading keys and values, and writing values, in every row type."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_audiokv.errors import NativeError
from edge_audiokv.native.context import HeadwiseContext
from edge_audiokv.native.model import Model

pytestmark = pytest.mark.integration


def test_quantised_rows_are_the_f16_rows_nearly(model: Model, tokens: NDArray[np.int32]) -> None:
    """Upstream's rotation is undone on the way out: the first layer's rows agree across types."""
    rows = {}
    for kind in ("f16", "q8_0", "q4_0"):
        with HeadwiseContext(model, 64, type_k=kind, type_v=kind, n_threads=1) as ours:
            ours.decode_tokens(tokens[:32])
            rows[kind] = np.stack([ours.read_keys(0, 1), ours.read_values(0, 1)])
    assert rows["f16"].shape == (2, 32, model.shape.head_dim)
    scale = np.abs(rows["f16"]).max((1, 2), keepdims=True)
    assert (np.abs(rows["q8_0"] - rows["f16"]) < 0.01 * scale).all()
    assert (np.abs(rows["q4_0"] - rows["f16"]) < 0.2 * scale).all()


@pytest.mark.parametrize(("kind", "tolerance"), [("f16", 1e-3), ("q8_0", 0.02), ("q4_0", 0.25)])
def test_write_values(model: Model, tokens: NDArray[np.int32], kind: str, tolerance: float) -> None:
    rng = np.random.default_rng(16)
    index = np.array([3, 4, 17, 29], np.int32)
    values = rng.normal(0, 1, (4, model.shape.head_dim)).astype(np.float32)
    with HeadwiseContext(model, 64, type_k=kind, type_v=kind, n_threads=1) as ours:
        ours.decode_tokens(tokens[:30])
        keys, before, beside = ours.read_keys(7, 2), ours.read_values(7, 2), ours.read_values(7, 1)
        state = ours.save_state()
        untouched = ours.decode_tokens(tokens[30:31])
        ours.load_state(state)

        ours.write_values(7, 2, index, values)
        after = ours.read_values(7, 2)
        np.testing.assert_allclose(after[index], values, atol=tolerance * np.abs(values).max())
        others = np.setdiff1d(np.arange(30), index)
        np.testing.assert_array_equal(after[others], before[others])
        np.testing.assert_array_equal(ours.read_values(7, 1), beside)
        np.testing.assert_array_equal(ours.read_keys(7, 2), keys)
        changed = ours.decode_tokens(tokens[30:31])
        assert changed is not None and untouched is not None
        assert np.abs(changed - untouched).max() > 0  # attention reads what was written


def test_refusals(model: Model, tokens: NDArray[np.int32]) -> None:
    d = model.shape.head_dim
    one, nan = np.ones((1, d), np.float32), np.full((1, d), np.nan, np.float32)
    with HeadwiseContext(model, 64, n_threads=1) as ours:
        ours.decode_tokens(tokens[:10])
        before = ours.read_values(0, 0)
        for layer, head, rows, values, what in (
            (30, 0, [0], one, "no KV head 0 in layer 30"),
            (0, 3, [0], one, "no KV head 3 in layer 0"),
            (0, -1, [0], one, "no KV head -1"),
            (0, 0, [10], one, "row 10 does not exist"),
            (0, 0, [-1], one, "row -1 does not exist"),
            (0, 0, [0, 1], one, "must be"),
            (0, 0, [0], nan, "not finite"),
        ):
            with pytest.raises(NativeError, match=what):
                ours.write_values(layer, head, np.array(rows, np.int32), values)
        for layer, head in ((30, 0), (0, 3), (-1, 0)):
            with pytest.raises(NativeError, match="There is no KV head"):
                ours.read_keys(layer, head)
        np.testing.assert_array_equal(ours.read_values(0, 0), before)
