"""Scores against softmax(q k) in float64 from the context's own queries and keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_audiokv.errors import NativeError
from edge_audiokv.native.context import HeadwiseContext
from edge_audiokv.native.model import Model

from .stock import TensorReader
from .test_masked import random_rows

pytestmark = pytest.mark.integration


class Watched(HeadwiseContext):
    """Notes the rotated queries of each layer's last micro-batch, float32 [L][T, H, G, D]."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._reader = TensorReader()
        self.queries: dict[int, NDArray[np.float32]] = {}

    def _context_params(self, capacity: NDArray[np.int32]) -> Any:
        params = super()._context_params(capacity)
        llama = self.model.library.llama
        self._callback = llama.ggml_backend_sched_eval_callback(self._visit)
        params.cb_eval = self._callback
        return params

    def _visit(self, tensor: int, ask: bool, _user: object) -> bool:
        name = self._reader.name(tensor)
        if not (name.startswith("Qcur-") and name[5:].isdigit()):
            return not ask
        if not ask:
            # named twice, before and after its rotation: the later one stays
            flat = self._reader.floats(tensor).reshape(
                -1, self.shape.n_kv_head, self.shape.n_group, self.shape.head_dim
            )
            self.queries[int(name[5:])] = flat.copy()
        return True

    def expected(self, window: int) -> NDArray[np.float64]:
        """Mean over the last `window` queries and the group of each row's probability."""
        shape, counts = self.shape, self.counts
        out = np.zeros((*counts.shape, counts.max()))
        for layer, head in np.ndindex(counts.shape):
            # attention over f16 keys rounds queries to f16, scores included
            query = self.queries[layer].astype(np.float16).astype(np.float64)[-window:]
            query = query[:, head]
            keys = self.read_keys(layer, head).astype(np.float64)
            logits = np.einsum("wgd,td->wgt", query, keys) / np.sqrt(shape.head_dim)
            n = counts[layer, head]
            seen = n - len(query) + 1 + np.arange(len(query))
            logits[np.broadcast_to(np.arange(n) >= seen[:, None, None], logits.shape)] = -np.inf
            weight = np.exp(logits - logits.max(-1, keepdims=True))
            out[layer, head, :n] = (weight / weight.sum(-1, keepdims=True)).mean((0, 1))
        return out


@pytest.fixture(scope="module")
def ours(model: Model) -> Iterator[Watched]:
    rng = np.random.default_rng(7)
    shape = (model.shape.n_layer, model.shape.n_kv_head)
    with Watched(model, rng.choice([256, 320, 384], shape), n_threads=1, n_batch=128) as context:
        yield context


def assert_scores(ours: Watched, window: int) -> None:
    scores, expected = ours.scores(), ours.expected(window)
    assert scores.shape == expected.shape
    np.testing.assert_allclose(scores, expected, rtol=1e-3, atol=1e-8)
    np.testing.assert_allclose(scores.sum(-1), 1, atol=1e-5)


def test_prompt_then_evicted_then_single(ours: Watched, tokens: NDArray[np.int32]) -> None:
    ours.clear()
    ours.decode_tokens(tokens[:200], score=True)  # micro-batches of 128 and 72
    assert_scores(ours, 32)

    before = ours.scores()
    rows = random_rows(ours, {0: 0.3, 1: 0.5, 2: 0.8}, np.random.default_rng(8))
    ours.keep(rows)
    kept = ours.scores()
    for layer, head in ((0, 0), (12, 1), (29, 2)):
        index = rows.of(layer, head)
        np.testing.assert_array_equal(kept[layer, head, : index.size], before[layer, head, index])

    ours.decode_tokens(tokens[200:240], score=True)
    assert_scores(ours, 32)
    ours.decode_tokens(tokens[240:241], score=True)
    assert_scores(ours, 1)


def test_last_micro_batch_holds_the_whole_window(ours: Watched, tokens: NDArray[np.int32]) -> None:
    ours.clear()
    ours.decode_tokens(tokens[:133], score=True)  # 128 + 5 would leave 5 queries: 101 + 32 instead
    assert len(ours.queries[0]) == 32
    assert_scores(ours, 32)


def test_unscored_rows_have_no_score(ours: Watched, tokens: NDArray[np.int32]) -> None:
    ours.clear()
    ours.decode_tokens(tokens[:50])
    assert not ours.scores().any()
    ours.decode_tokens(tokens[50:90], score=True)
    scored = ours.scores()
    ours.decode_tokens(tokens[90:100])
    after = ours.scores()
    np.testing.assert_array_equal(after[:, :, :90], scored)
    assert not after[:, :, 90:].any()
    ours.truncate(60)
    np.testing.assert_array_equal(ours.scores(), scored[:, :, :60])


def test_scores_of_quantised_keys(model: Model, tokens: NDArray[np.int32]) -> None:
    """q8_0 keys: the product rounds the query to 8 bits too, as attention itself does."""
    with Watched(model, 128, type_k="q8_0", type_v="q8_0", n_threads=1) as ours:
        ours.decode_tokens(tokens[:100], score=True)
        scores, expected = ours.scores(), ours.expected(32)
    np.testing.assert_allclose(scores, expected, rtol=0.1, atol=2e-3)
    np.testing.assert_allclose(scores.sum(-1), 1, atol=1e-5)


def test_no_window_no_scores(model: Model, tokens: NDArray[np.int32]) -> None:
    with (
        HeadwiseContext(model, 64, n_threads=1, score_window=0) as without,
        HeadwiseContext(model, 64, n_threads=1) as with_scores,
    ):
        assert without.nbytes < with_scores.nbytes
        with pytest.raises(NativeError, match="without scores"):
            without.decode_tokens(tokens[:4], score=True)
        without.decode_tokens(tokens[:4])
        with pytest.raises(NativeError, match="without a score window"):
            without.scores()
