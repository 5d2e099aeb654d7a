"""Branches of one join against each question asked alone."""

from __future__ import annotations

import random

import pytest
import torch

from edge_audiokv.train.llama import Llama, rotate
from edge_audiokv.train.prompts import Example, Prompter, llm_loss
from edge_audiokv.train.questions import join, questions_loss

TEXTS = [
    "the yellow carriage waited outside",
    "nobody answered the telephone yesterday",
    "seven children gathered chestnuts",
    "winter evenings were spent reading",
]


@pytest.fixture(scope="module")
def llm() -> Llama:
    torch.manual_seed(0)
    return Llama(rank=2, dtype=torch.float32)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_a_branch_costs_what_its_question_costs_alone(llm: Llama, seed: int) -> None:
    prompter = Prompter(llm)
    sounds = [0.1 * torch.randn(n, 576) for n in (4, 6, 3, 5)]
    others = ["umbrella", "mountain", "quietly"]
    parts, branches = join(sounds, TEXTS, others, prompter, random.Random(seed), 6)
    assert len(branches) >= 4
    whole = [torch.cat(parts)]
    with torch.no_grad():
        alone = [
            llm_loss(llm, [Example([*whole, llm.embed(b.question)], b.answer)]) for b in branches
        ]
        together = questions_loss(llm, whole, branches)
    torch.testing.assert_close(together, torch.stack(alone).mean(), rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_remembered_turns_do_not_see_each_other(llm: Llama) -> None:
    first, second = 0.1 * torch.randn(5, 576), 0.1 * torch.randn(9, 576)
    with torch.no_grad():
        both, alone = llm.remember([first, second]), llm.remember([second])
    placed = llm.cos[5:14], llm.sin[5:14]
    for (keys, values), (keys_alone, values_alone) in zip(both, alone, strict=True):
        torch.testing.assert_close(values[:, :, 5:], values_alone, rtol=1e-4, atol=1e-4)
        # Turned on by five places: undo the old rotation, apply the new one.
        still = rotate(keys_alone, (llm.cos[:9], -llm.sin[:9]))
        torch.testing.assert_close(keys[:, :, 5:], rotate(still, placed), rtol=1e-3, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("deep", [True, False])
def test_gradients_end_at_a_layers_keys_if_not_deep(llm: Llama, deep: bool) -> None:
    llm.zero_grad()
    keys, values = llm.remember([0.1 * torch.randn(6, 576)], deep=deep)[5]
    (keys.sum() + values.sum()).backward()
    assert llm.layers[5].k.b.grad.abs().sum() > 0
    below = llm.layers[4].down.b.grad
    assert (below is not None and below.abs().sum() > 0) == deep
