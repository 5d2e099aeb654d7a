from __future__ import annotations

import numpy as np
import pytest
import torch

from edge_audiokv.train.llama import Llama, LoraLinear, rotate, to_halves, to_interleaved
from edge_audiokv.train.text import HEAD, TAIL, load_tokenizer


def test_row_orders_are_inverse() -> None:
    rows = np.arange(4 * 8 * 3, dtype=np.float32).reshape(32, 3)
    np.testing.assert_array_equal(to_interleaved(to_halves(rows, 4), 4), rows)
    assert not np.array_equal(to_halves(rows, 4), rows)


def test_rotation_keeps_length_and_relative_angle() -> None:
    angle = torch.outer(torch.arange(9.0), torch.tensor([1.0, 0.1]))
    rotation = angle.cos(), angle.sin()
    q, k = torch.randn(4), torch.randn(4)
    turned_q, turned_k = rotate(q.expand(9, 4), rotation), rotate(k.expand(9, 4), rotation)
    torch.testing.assert_close(turned_q.norm(dim=1), q.norm().expand(9))
    torch.testing.assert_close(turned_q[5] @ turned_k[3], turned_q[7] @ turned_k[5])


def test_lora_starts_as_nothing_and_then_adds() -> None:
    linear = LoraLinear(torch.randn(5, 4), rank=2, alpha=4.0)
    x = torch.randn(3, 4)
    torch.testing.assert_close(linear(x), x @ linear.weight.T)
    with torch.no_grad():
        linear.b.fill_(1.0)
    extra = 2.0 * (x @ linear.a.T) @ linear.b.T
    torch.testing.assert_close(linear(x), x @ linear.weight.T + extra)


@pytest.mark.slow
def test_the_packaged_model_answers_and_batches_agree() -> None:
    llm, tokenizer = Llama(rank=2), load_tokenizer()
    question = "What is the capital of France?"
    long = llm.embed(tokenizer.encode(HEAD + question + TAIL.format(question="")).ids)
    short = llm.embed(tokenizer.encode(HEAD + "Say hello." + TAIL.format(question="")).ids)
    together = llm.generate([long, short], 20)
    assert "Paris" in tokenizer.decode(together[0])
    assert llm.generate([short], 6)[0] == together[1][:6]
