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

from edge_audiokv.eval.tasks import KINDS, make_task
from edge_audiokv.train.batches import Mixture
from edge_audiokv.train.llama import Llama
from edge_audiokv.train.prompts import Prompter
from edge_audiokv.train.text import HEAD, IM_END, TAIL

# How often a join is heard in turns with transcripts, as a session remembers it.
TURNS_SHARE = 0.25


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
) -> tuple[Tensor, list[Branch]]:
    """(embeddings [P, d] of the join, up to `count` questions about it); `others` are words that
    may be asked for though they were not said.
    """
    tasks = [make_task(texts, rng.choice(KINDS[1:]), rng, others) for _ in range(count)]
    in_turns = rng.random() < TURNS_SHARE
    if in_turns:
        parts = [
            part
            for sound, text in zip(sounds, texts, strict=True)
            for part in prompter.closed_turn([sound], text)
        ]
    else:
        dtype = prompter.llm.embeddings.dtype
        parts = [prompter.llm.embed(prompter.head), *(s.to(dtype) for s in sounds)]
    branches = []
    for task in tasks:
        if task is not None:
            tail = TAIL.format(question=task.question)
            ask = HEAD + tail.lstrip("\n") if in_turns else tail
            branches.append(Branch(prompter.tokens(ask), [*prompter.tokens(task.answer), IM_END]))
    return torch.cat(parts), branches


def questions_loss(llm: Llama, prefix: Tensor, branches: list[Branch]) -> Tensor:
    """Mean over branches of the mean cross-entropy of their answers' tokens."""
    read = [[*b.question, *b.answer[:-1]] for b in branches]
    owner = torch.tensor([-1] * len(prefix) + [i for i, r in enumerate(read) for _ in r])
    places = [*range(len(prefix)), *(len(prefix) + j for r in read for j in range(len(r)))]
    x = torch.cat([prefix, llm.embed([token for r in read for token in r])])
    seen = (owner[None, :] == -1) | (owner[None, :] == owner[:, None])
    mask = seen.tril()[None, None]
    hidden = llm(x[None], torch.tensor(places)[None], mask)[0]
    losses, at = [], len(prefix)
    for branch, tokens in zip(branches, read, strict=True):
        at += len(tokens)
        said = llm.logits(hidden[at - len(branch.answer) : at]).float()
        losses.append(F.cross_entropy(said, torch.tensor(branch.answer)))
    return torch.stack(losses).mean()
