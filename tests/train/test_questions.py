"""Branches of one join against each question asked alone."""

from __future__ import annotations

import random

import pytest
import torch

from edge_audiokv.train.llama import Llama, rotate
from edge_audiokv.train.prompts import Example, Prompter, llm_loss
from edge_audiokv.train.questions import Join, join, questions_loss, written_join

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
    heard, branches = join(sounds, TEXTS, others, prompter, random.Random(seed), 6)
    assert len(branches) >= 4
    whole = torch.cat(heard.parts)
    with torch.no_grad():
        alone = [
            llm_loss(llm, [Example([whole, llm.embed(b.question)], answer)])
            for b in branches
            for answer in (b.answer, b.answer[:1])
        ]
        together = questions_loss(llm, Join([whole]), branches)
    torch.testing.assert_close(together, torch.stack(alone).mean() * 2, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_written_turns_lie_where_their_sound_would_have_put_them(llm: Llama) -> None:
    prompter, lengths_s = Prompter(llm), [2.0, 0.5, 1.0, 3.0]
    heard, branches = written_join(lengths_s, TEXTS, [], prompter, random.Random(1), 3)
    assert len(branches) == 3
    sounds = [torch.zeros(int(12.5 * length_s), 576) for length_s in lengths_s]
    whole = [torch.cat(prompter.closed_turn([s], t)) for s, t in zip(sounds, TEXTS, strict=True)]
    assert heard.n_places == sum(map(len, whole)) and heard.n_rows == heard.n_places - 80
    # The first layer's keys know nothing but their tokens and places.
    with torch.no_grad():
        keys, _ = llm.remember(heard.parts, heard.places)[0]
        expected, _ = llm.remember(whole)[0]
    n_head, start, kept = len(prompter.head), 0, []
    for turn, sound in zip(whole, sounds, strict=True):
        kept += [
            *range(start, start + n_head),
            *range(start + n_head + len(sound), start + len(turn)),
        ]
        start += len(turn)
    torch.testing.assert_close(keys, expected[:, :, kept], rtol=1e-4, atol=1e-4)


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
