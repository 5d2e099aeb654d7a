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
TOKENS_PER_S = 12.5


@dataclass
class Branch:
    """A question's tokens, and those of its answer."""

    question: list[int]
    answer: list[int]


@dataclass
class Join:
    """Parts [P_i, d] that are each read alone, at `places` [P_i] within each (None: no gaps)."""

    parts: list[Tensor]
    places: list[Tensor] | None = None

    @property
    def n_rows(self) -> int:
        return sum(len(part) for part in self.parts)

    @property
    def n_places(self) -> int:
        """Positions that it takes, gaps included."""
        if self.places is None:
            return self.n_rows
        return sum(int(place[-1]) + 1 for place in self.places)


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


def ask(
    texts: list[str],
    others: list[str],
    prompter: Prompter,
    rng: random.Random,
    count: int,
    *,
    in_turns: bool,
) -> list[Branch]:
    """Up to `count` questions about segments; `others` are words that may be asked for though they
    were not said. After turns a question is a turn of its own.
    """
    kinds = ["first", "last", *rng.choices(list(WEIGHTS), list(WEIGHTS.values()), k=count)]
    branches = []
    for kind in kinds[:count]:
        task = make_task(texts, kind, rng, others)
        if task is not None:
            tail = TAIL.format(question=task.question)
            question = prompter.tokens(HEAD + tail.lstrip("\n") if in_turns else tail)
            branches.append(Branch(question, [*prompter.tokens(task.answer), IM_END]))
    return branches


def join(
    sounds: list[Tensor],
    texts: list[str],
    others: list[str],
    prompter: Prompter,
    rng: random.Random,
    count: int,
) -> tuple[Join, list[Branch]]:
    """A join of sounds [T_i, d] and questions about it (`ask`)."""
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
    return Join(parts), ask(texts, others, prompter, rng, count, in_turns=in_turns)


def written_join(
    lengths_s: list[float],
    texts: list[str],
    others: list[str],
    prompter: Prompter,
    rng: random.Random,
    count: int,
) -> tuple[Join, list[Branch]]:
    """Turns whose sound is left out: its places stay empty. Finding words in what was written down
    is learned so from far fewer rows.
    """
    parts, places = [], []
    for text, length_s in zip(texts, lengths_s, strict=True):
        parts.append(torch.cat(prompter.closed_turn([], text)))
        place = torch.arange(len(parts[-1]))
        place[len(prompter.head) :] += int(length_s * TOKENS_PER_S)
        places.append(place)
    return Join(parts, places), ask(texts, others, prompter, rng, count, in_turns=True)


def questions_loss(llm: Llama, heard: Join, branches: list[Branch]) -> Tensor:
    """Mean over branches of their answers' cross-entropy: that of the first token, which chooses
    the sentence or says yes or no, and the mean of all.
    """
    n_before = heard.n_places
    read = [[*b.question, *b.answer[:-1]] for b in branches]
    owner = torch.tensor([i for i, r in enumerate(read) for _ in r])
    places = torch.tensor([n_before + j for r in read for j in range(len(r))])[None]
    own = (owner[None, :] == owner[:, None]).tril()
    mask = torch.cat([torch.ones(len(owner), heard.n_rows, dtype=torch.bool), own], 1)[None, None]
    x = llm.embed([token for r in read for token in r])
    cache = llm.remember(heard.parts, heard.places, deep=heard.n_rows < DEEP_TOKENS)
    hidden = llm(x[None], places, mask, cache)[0]
    losses, at = [], 0
    for branch, tokens in zip(branches, read, strict=True):
        at += len(tokens)
        said = llm.logits(hidden[at - len(branch.answer) : at]).float()
        each = F.cross_entropy(said, torch.tensor(branch.answer), reduction="none")
        losses.append(each[0] + each.mean())
    return torch.stack(losses).mean()
