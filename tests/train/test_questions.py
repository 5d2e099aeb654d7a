"""Branches of one join against each question asked alone."""

from __future__ import annotations

import random

import pytest
import torch

from edge_audiokv.train.llama import Llama
from edge_audiokv.train.prompts import Example, Prompter, llm_loss
from edge_audiokv.train.questions import join, questions_loss

TEXTS = [
    "the yellow carriage waited outside",
    "nobody answered the telephone yesterday",
    "seven children gathered chestnuts",
    "winter evenings were spent reading",
]


@pytest.mark.slow
def test_a_branch_costs_what_its_question_costs_alone() -> None:
    torch.manual_seed(0)
    llm = Llama(rank=2, dtype=torch.float32)
    prompter = Prompter(llm)
    sounds = [0.1 * torch.randn(n, 576) for n in (4, 6, 3, 5)]
    others = ["umbrella", "mountain", "quietly"]
    prefix, branches = join(sounds, TEXTS, others, prompter, random.Random(0), 4)
    assert len(branches) >= 2
    with torch.no_grad():
        alone = [
            llm_loss(llm, [Example([prefix, llm.embed(b.question)], b.answer)]) for b in branches
        ]
        together = questions_loss(llm, prefix, branches)
    torch.testing.assert_close(together, torch.stack(alone).mean(), rtol=1e-3, atol=1e-3)
