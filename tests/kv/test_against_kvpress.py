"""Kept rows against kvpress, NVIDIA's collection of published methods, on a tiny random Llama.

Both see the same keys, values and attention. kvpress cuts a real cache in the hooks that it brings;
ours gets a view of what the cache held before. It needs PyTorch, which `.ci/run` has not, so it
runs where kvpress is installed and not elsewhere:

    pip install kvpress pytest && pip install .
    pytest tests/kv/test_against_kvpress.py -p no:cacheprovider

Where a method here deviates from kvpress, the rows that differ are counted, and the reason is told.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_audiokv.kv.budget import joint_top
from edge_audiokv.kv.policy import Policy, make_policy
from edge_audiokv.kv.shape import KVShape
from edge_audiokv.kv.view import Kind, KVView

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of packages that are not ours
    kvpress = pytest.importorskip("kvpress", reason="kvpress is not installed: see above")
    import torch
    from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

pytestmark = pytest.mark.filterwarnings("ignore")

N_LAYER, N_HEAD, N_KV, HEAD_DIM, N_ROWS = 3, 8, 4, 16, 128
WINDOW, RATIO = 16, 0.5
N_KEPT = 64
Kept = list[list[list[int]]]


@dataclass
class Prompt:
    """One prompt in an uncut cache: keys and values [L, H, T, D], attention [L, Q heads, T, T]."""

    model: Any
    ids: Any
    keys: NDArray[np.float32]
    values: NDArray[np.float32]
    attention: NDArray[np.float32]

    def view(
        self, targets: Any, *, n_queries: int = WINDOW, ema: NDArray[np.float32] | None = None
    ) -> KVView:
        mean = self.attention[:, :, -n_queries:].mean(axis=2)
        scores = mean.reshape(N_LAYER, N_KV, N_HEAD // N_KV, N_ROWS).mean(axis=2)
        full = (N_LAYER, N_KV)
        return KVView(
            shape=KVShape(N_LAYER, N_KV, N_HEAD // N_KV, HEAD_DIM),
            counts=np.full(full, N_ROWS, np.int32),
            positions=np.broadcast_to(np.arange(N_ROWS, dtype=np.int32), scores.shape).copy(),
            kind_of=np.full(N_ROWS, Kind.AUDIO, np.int8),
            targets=np.broadcast_to(np.asarray(targets, np.int32), full).copy(),
            scores=scores,
            ema=ema,
            read_keys=lambda layer, head: self.keys[layer, head],
            read_values=lambda layer, head: self.values[layer, head],
        )


def random_model(attention: str) -> Any:
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=97,
        hidden_size=N_HEAD * HEAD_DIM,
        intermediate_size=64,
        num_hidden_layers=N_LAYER,
        num_attention_heads=N_HEAD,
        num_key_value_heads=N_KV,
        head_dim=HEAD_DIM,
        attn_implementation=attention,
        initializer_range=0.2,  # attention with peaks, as of a trained model
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module", params=range(5))
def prompt(request: pytest.FixtureRequest) -> Prompt:
    ids = torch.randint(0, 97, (1, N_ROWS), generator=torch.Generator().manual_seed(request.param))
    cache = DynamicCache()
    with torch.no_grad():
        told = random_model("eager")(ids, past_key_values=cache, output_attentions=True)
    return Prompt(
        random_model("sdpa"),
        ids,
        np.stack([layer.keys[0].numpy() for layer in cache.layers]),
        np.stack([layer.values[0].numpy() for layer in cache.layers]),
        np.stack([attention[0].numpy() for attention in told.attentions]),
    )


def by_kvpress(prompt: Prompt, press: Any) -> Kept:
    """Rows that stay: those of the cut cache, found again by their keys."""
    cache = DynamicCache()
    with torch.no_grad(), press(prompt.model):
        prompt.model(prompt.ids, past_key_values=cache)
    found = []
    for index, layer in enumerate(cache.layers):
        module = prompt.model.model.layers[index].self_attn
        dropped = getattr(module, "masked_key_indices", None)
        module.masked_key_indices = None
        heads = []
        for head, keys in enumerate(layer.keys[0].numpy()):
            if dropped is not None:  # AdaKV masks instead of cutting
                _, of_head, rows = (part.numpy() for part in dropped)
                heads.append(sorted(set(range(N_ROWS)) - set(rows[of_head == head].tolist())))
                continue
            apart = np.abs(prompt.keys[index, head][None] - keys[:, None]).max(axis=2)
            assert apart.min(axis=1).max() < 1e-4
            heads.append(sorted(apart.argmin(axis=1).tolist()))
        found.append(heads)
    return found


def by_us(policy: Policy, view: KVView) -> Kept:
    rows = policy.select(view)
    return [[rows.of(i, j).tolist() for j in range(N_KV)] for i in range(N_LAYER)]


def sizes(kept: Kept) -> NDArray[np.int32]:
    return np.array([[len(rows) for rows in layer] for layer in kept], np.int32)


def heads(one: Kept, other: Kept) -> Iterator[tuple[set[int], set[int]]]:
    """What both keep of each head."""
    for layer, other_layer in zip(one, other, strict=True):
        for rows, other_rows in zip(layer, other_layer, strict=True):
            yield set(rows), set(other_rows)


def n_apart(one: Kept, other: Kept) -> int:
    """Rows that one keeps and the other does not, over all heads, of N_LAYER * N_KV * N_KEPT."""
    return sum(len(rows - others) for rows, others in heads(one, other))


def test_streaming_llm_keeps_the_same(prompt: Prompt) -> None:
    theirs = by_kvpress(prompt, kvpress.StreamingLLMPress(RATIO, n_sink=4))
    assert by_us(make_policy("streaming-llm"), prompt.view(N_KEPT)) == theirs


def test_keydiff_keeps_the_same(prompt: Prompt) -> None:
    theirs = by_kvpress(prompt, kvpress.KeyDiffPress(RATIO))
    assert by_us(make_policy("keydiff"), prompt.view(N_KEPT)) == theirs


def test_tova_keeps_the_same_but_for_the_last_row(prompt: Prompt) -> None:
    """kvpress never drops the last row; the paper, and we, let its attention decide."""
    theirs = by_kvpress(prompt, kvpress.TOVAPress(RATIO))
    ours = by_us(make_policy("tova"), prompt.view(N_KEPT, n_queries=1))
    for mine, others in heads(ours, theirs):
        assert others - mine <= {N_ROWS - 1}


def test_snapkv_keeps_the_same_without_pooling(prompt: Prompt) -> None:
    theirs = by_kvpress(prompt, kvpress.SnapKVPress(RATIO, window_size=WINDOW, kernel_size=1))
    ours = by_us(make_policy("snapkv", window=WINDOW, kernel=1), prompt.view(N_KEPT))
    assert ours == theirs


def test_snapkv_differs_where_the_pool_reaches_the_window(prompt: Prompt) -> None:
    """Ours pools over all rows; kvpress leaves the window out, as zeros beside the row before it.

    So two rows a head (half a kernel of 5) may score otherwise, and each may push out one other.
    """
    theirs = by_kvpress(prompt, kvpress.SnapKVPress(RATIO, window_size=WINDOW, kernel_size=5))
    ours = by_us(make_policy("snapkv", window=WINDOW, kernel=5), prompt.view(N_KEPT))
    border = set(range(N_ROWS - WINDOW - 2, N_ROWS - WINDOW))
    for mine, others in heads(ours, theirs):
        # What only one of them keeps is one of these rows, or what such a row gave its place to.
        assert len(mine ^ others) <= 2 * len((mine ^ others) & border)


def test_pyramidkv_keeps_the_same_of_a_layer_s_budget(prompt: Prompt) -> None:
    """The budgets: kvpress spreads all C rows of a head by depth, ours C less the window, as the
    method's first code does: in the first layer 16 + 1.5 * 48 rows, not 1.5 * 64.
    """
    press = kvpress.PyramidKVPress(RATIO, window_size=WINDOW, kernel_size=1, beta=2)
    theirs = by_kvpress(prompt, press)
    policy = make_policy("pyramidkv", window=WINDOW, kernel=1, beta=2)
    assert by_us(policy, prompt.view(sizes(theirs))) == theirs
    view = prompt.view(N_KEPT)
    budgets = policy.budgets(N_KEPT * N_LAYER * N_KV, view.shape, N_ROWS)
    assert sizes(theirs)[:, 0].tolist() == [96, 64, 32]
    assert budgets[:, 0].tolist() == [88, 64, 40]


def test_adakv_keeps_the_same_of_a_head_s_budget(prompt: Prompt) -> None:
    """The budgets: kvpress counts the window among a layer's best rows, and its safeguard is a
    least number of rows; ours, as the method's first code, mixes counts with an even share.
    """
    inner = kvpress.SnapKVPress(RATIO, window_size=WINDOW, kernel_size=1)
    theirs = by_kvpress(prompt, kvpress.AdaKVPress(inner))
    counts = sizes(theirs)
    assert (counts.sum(axis=1) == N_KEPT * N_KV).all() and counts.std() > 0
    policy = make_policy("adakv", window=WINDOW, kernel=1, pooling="mean", budget_share=RATIO)
    assert by_us(policy, prompt.view(counts)) == theirs
    # Without a safeguard, and with the window counted, the budgets are the same as well.
    view = prompt.view(N_KEPT)
    bare = sizes(by_kvpress(prompt, kvpress.AdaKVPress(inner, alpha_safeguard=0.0)))
    scores = policy.score(view).copy()
    scores[..., -WINDOW:] = scores.max() + 1
    assert joint_top(scores, view.counts, N_KEPT, floor=0.0).tolist() == bare.tolist()


def test_expected_attention_keeps_the_same_of_the_same_expectation(prompt: Prompt) -> None:
    """The expectation: kvpress takes it from the Gaussian of queries before RoPE, which a running
    cache does not show; ours is of the attention that was paid. All that follows is the same.
    """
    expected = np.zeros((N_LAYER, N_KV, N_ROWS), np.float32)
    press = kvpress.ExpectedAttentionPress(RATIO, use_vnorm=False)
    score = press.score

    def noted(module: Any, *args: Any) -> Any:
        found = score(module, *args)
        expected[module.layer_idx] = found[0].numpy()
        return found

    press.score = noted
    by_kvpress(prompt, press)
    theirs = by_kvpress(prompt, kvpress.ExpectedAttentionPress(RATIO))
    policy = make_policy("expected-attention")
    assert by_us(policy, prompt.view(N_KEPT, ema=expected)) == theirs
    # With attention that was paid in its place most rows are the same still.
    paid = by_us(policy, prompt.view(N_KEPT))
    assert n_apart(paid, theirs) < 0.5 * N_LAYER * N_KV * N_KEPT
