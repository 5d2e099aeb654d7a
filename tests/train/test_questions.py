"""Branches of one join against each question asked alone."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edge_audiokv.train.llama import Llama, groups_of_like_length, rotate
from edge_audiokv.train.prompts import Example, Prompter, llm_loss
from edge_audiokv.train.questions import (
    FIRST_TOKENS,
    Join,
    ask,
    join,
    questions_loss,
    read,
    say_next,
    written_join,
)

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
    rng = random.Random(seed)
    heard = join(sounds, TEXTS, prompter, rng, 0.4)
    branches = ask(TEXTS, others, prompter, rng, 6, in_turns=heard.in_turns)
    assert len(branches) >= 4
    whole = torch.cat(heard.parts)
    with torch.no_grad():
        alone = []
        for b in branches:
            first = b.answer[:FIRST_TOKENS]
            rows = [Example([whole, b.prompt], answer) for answer in (b.answer, first)]
            every, few = (llm_loss(llm, [row]) for row in rows)
            alone.append(every + few * len(first))
        heard = Join([whole])
        together = questions_loss(llm, heard, read(llm, heard), branches)
    torch.testing.assert_close(together, torch.stack(alone).mean(), rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_written_turns_lie_where_their_sound_would_have_put_them(llm: Llama) -> None:
    prompter, lengths_s = Prompter(llm), [2.0, 0.5, 1.0, 3.0]
    heard = written_join(lengths_s, TEXTS, prompter)
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


@pytest.mark.slow
def test_what_is_said_next_costs_what_rolling_transcription_costs(llm: Llama) -> None:
    prompter = Prompter(llm)
    sounds = [0.1 * torch.randn(n, 576) for n in (4, 6, 3, 5)]
    turns = [prompter.closed_turn([s], t) for s, t in zip(sounds[:3], TEXTS[:3], strict=True)]
    heard = Join([torch.cat([row for turn in turns for row in turn])])
    branch = say_next(sounds[3], TEXTS[3], prompter)
    with torch.no_grad():
        expected = llm_loss(llm, [prompter.rolling(sounds, TEXTS, [0, 1, 2, 3, 4])])
        found = questions_loss(llm, heard, read(llm, heard), [branch])
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_what_was_read_serves_an_adapter_that_has_learned_since(llm: Llama) -> None:
    turns = [0.1 * torch.randn(n, 576) for n in (7, 3)]
    with torch.no_grad():
        memory = llm.read_turns(turns, deep=False)
        before, _ = llm.cache_of(memory)[3]
        llm.layers[3].k.b += 0.1
        after, _ = llm.cache_of(memory)[3]
        llm.layers[3].k.b -= 0.1
        assert not torch.allclose(before, after)


@given(st.lists(st.integers(1, 500), max_size=60))
def test_groups_hold_each_once_and_waste_little(lengths: list[int]) -> None:
    groups = groups_of_like_length(lengths)
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    for group in groups:
        padded = len(group) * max(lengths[i] for i in group)
        assert padded - sum(lengths[i] for i in group) <= 0.2 * padded
