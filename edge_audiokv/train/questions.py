"""Many questions about one join: the sound is read once, every question is a branch of its own.

A branch sees the sound and itself, at the positions that it would have alone, so that the loss is
that of asking each question alone, for hardly more than the price of one.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from edge_audiokv.eval.tasks import make_task
from edge_audiokv.train.batches import Mixture
from edge_audiokv.train.llama import Llama
from edge_audiokv.train.prompts import Prompter
from edge_audiokv.train.text import HEAD, IM_END, TAIL

# How often a join is turns with transcripts, each read alone, as a session remembers them; how
# often turns that see the turns before them; else it is one turn of sound.
ALONE_SHARE, IN_VIEW_SHARE = 0.65, 0.2
# What is asked beside the first and the last sentence.
WEIGHTS = {"repeat": 5, "mentioned": 5, "earlier": 3}
# Up to here gradients go through the whole join; longer ones learn from the questions alone.
DEEP_TOKENS = 1500


@dataclass
class Branch:
    """A question's tokens, and those of its answer."""

    question: list[int]
    answer: list[int]


def draw_join(speech: Mixture, seconds: float, rng: random.Random) -> list[int]:
    """Places of utterances in random order that last about `seconds` together."""
    chosen: list[int] = []
    total = 0.0
    while total < seconds:
        place = rng.randrange(len(speech))
        corpus, row = speech.places[place]
        if place not in chosen:
            chosen.append(place)
            total += speech.sets[corpus].seconds[row]
    return chosen


def join(
    sounds: list[Tensor],
    texts: list[str],
    others: list[str],
    prompter: Prompter,
    rng: random.Random,
    count: int,
) -> tuple[list[Tensor], list[Branch]]:
    """(parts [P_i, d] of the join that are each read alone, up to `count` questions about it);
    `others` are words that may be asked for though they were not said.
    """
    kinds = ["first", "last", *rng.choices(list(WEIGHTS), list(WEIGHTS.values()), k=count)]
    tasks = [make_task(texts, kind, rng, others) for kind in kinds[:count]]
    how = rng.random()
    in_turns = how < ALONE_SHARE + IN_VIEW_SHARE
    if in_turns:
        parts = [
            torch.cat(prompter.closed_turn([sound], text))
            for sound, text in zip(sounds, texts, strict=True)
        ]
    else:
        dtype = prompter.llm.embeddings.dtype
        parts = [prompter.llm.embed(prompter.head), *(s.to(dtype) for s in sounds)]
    if how >= ALONE_SHARE:
        parts = [torch.cat(parts)]
    branches = []
    for task in tasks:
        if task is not None:
            tail = TAIL.format(question=task.question)
            ask = HEAD + tail.lstrip("\n") if in_turns else tail
            branches.append(Branch(prompter.tokens(ask), [*prompter.tokens(task.answer), IM_END]))
    return parts, branches


def questions_loss(llm: Llama, parts: list[Tensor], branches: list[Branch]) -> Tensor:
    """Mean over branches of the mean cross-entropy of their answers' tokens."""
    n_before = sum(len(part) for part in parts)
    read = [[*b.question, *b.answer[:-1]] for b in branches]
    owner = torch.tensor([i for i, r in enumerate(read) for _ in r])
    places = torch.tensor([n_before + j for r in read for j in range(len(r))])[None]
    own = (owner[None, :] == owner[:, None]).tril()
    mask = torch.cat([torch.ones(len(owner), n_before, dtype=torch.bool), own], 1)[None, None]
    x = llm.embed([token for r in read for token in r])
    cache = llm.remember(parts, deep=n_before < DEEP_TOKENS)
    hidden = llm(x[None], places, mask, cache)[0]
    losses, at = [], 0
    for branch, tokens in zip(branches, read, strict=True):
        at += len(tokens)
        said = llm.logits(hidden[at - len(branch.answer) : at]).float()
        losses.append(F.cross_entropy(said, torch.tensor(branch.answer)))
    return torch.stack(losses).mean()
