"""Many questions about one join: the sound is read once, every question is a branch of its own.

What is said next can be such a branch too: it is transcribed with the join in view.

A branch sees the sound and itself, at the positions that it would have alone, so that the loss is
that of asking each question alone, for hardly more than the price of one.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from edge_audiokv.eval.tasks import TRANSCRIBE, make_task, spoken_code
from edge_audiokv.train.batches import Mixture
from edge_audiokv.train.llama import Llama, Memory
from edge_audiokv.train.prompts import Prompter
from edge_audiokv.train.text import HEAD, IM_END, TAIL

# How often a join is one turn of sound; else it is turns with transcripts.
ONE_TURN_SHARE = 0.1
# What is asked beside the first and the last sentence, and a code.
WEIGHTS = {"repeat": 6, "mentioned": 3, "earlier": 4}
# How often a code is put into a join; too few utterances hold one to count on chance.
CODE_SHARE = 0.4
# So many tokens tell one sentence from the others.
FIRST_TOKENS = 3
# Up to here gradients go through the whole join; longer ones learn from the questions alone.
DEEP_TOKENS = 1500
TOKENS_PER_S = 12.5


@dataclass
class Branch:
    """An embedded prompt [Q, d], its answer's tokens, and what the first of them count beside the
    mean of all: they choose the sentence, or say yes or no.
    """

    prompt: Tensor
    answer: list[int]
    first_weight: float = 1.0


@dataclass
class Join:
    """Parts [P_i, d] that are each read alone, at `places` [P_i] within each (None: no gaps)."""

    parts: list[Tensor]
    places: list[Tensor] | None = None
    in_turns: bool = True

    @property
    def n_rows(self) -> int:
        return sum(len(part) for part in self.parts)

    @property
    def n_places(self) -> int:
        """Positions that it takes, gaps included."""
        if self.places is None:
            return self.n_rows
        return sum(int(place[-1]) + 1 for place in self.places)

    @property
    def is_deep(self) -> bool:
        """Whether gradients go through all of it."""
        return self.n_rows < DEEP_TOKENS


def draw_join(speech: Mixture, seconds: float, rng: random.Random) -> list[int]:
    """Places of utterances in random order that last about `seconds` together, some of them with
    one code that can be asked for.
    """
    chosen: list[int] = []
    total = 0.0
    while total < seconds:
        place = rng.randrange(len(speech))
        corpus, row = speech.places[place]
        if place not in chosen:
            chosen.append(place)
            total += speech.sets[corpus].seconds[row]
    codes = [
        i for i, (k, row) in enumerate(speech.places) if spoken_code(speech.sets[k].texts[row])
    ]
    if codes and rng.random() < CODE_SHARE:
        said = set(codes)
        chosen = [place for place in chosen if place not in said]
        chosen.insert(rng.randint(0, len(chosen)), rng.choice(codes))
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
    sure = ["first", "last"]
    if sum(bool(spoken_code(text)) for text in texts) == 1:
        sure.append("code")
    kinds = [*sure, *rng.choices(list(WEIGHTS), list(WEIGHTS.values()), k=count)]
    branches = []
    for kind in kinds[:count]:
        task = make_task(texts, kind, rng, others)
        if task is not None:
            tail = TAIL.format(question=task.question)
            question = prompter.tokens(HEAD + tail.lstrip("\n") if in_turns else tail)
            answer = [*prompter.tokens(task.answer), IM_END]
            branches.append(Branch(prompter.llm.embed(question), answer))
    return branches


def say_next(sound: Tensor, text: str, prompter: Prompter) -> Branch:
    """The turn after a join: sound [T, d] to be transcribed."""
    example = prompter.example([sound], TRANSCRIBE, text)
    return Branch(torch.cat(example.parts), example.answer, 0.0)


def join(
    sounds: list[Tensor],
    texts: list[str],
    prompter: Prompter,
    rng: random.Random,
    in_view_share: float,
) -> Join:
    """A join of sounds [T_i, d]: now and then one turn of sound, `in_view_share` of the others
    turns that see the turns before them, else turns that were each read alone, as a session
    remembers them.
    """
    in_turns = rng.random() >= ONE_TURN_SHARE
    if in_turns:
        parts = [
            torch.cat(prompter.closed_turn([sound], text))
            for sound, text in zip(sounds, texts, strict=True)
        ]
    else:
        dtype = prompter.llm.embeddings.dtype
        parts = [prompter.llm.embed(prompter.head), *(s.to(dtype) for s in sounds)]
    if not in_turns or rng.random() < in_view_share:
        parts = [torch.cat(parts)]
    return Join(parts, in_turns=in_turns)


def written_join(lengths_s: list[float], texts: list[str], prompter: Prompter) -> Join:
    """Turns whose sound is left out: its places stay empty. Finding words in what was written down
    is learned so from far fewer rows.
    """
    parts, places = [], []
    for text, length_s in zip(texts, lengths_s, strict=True):
        parts.append(torch.cat(prompter.closed_turn([], text)))
        place = torch.arange(len(parts[-1]))
        place[len(prompter.head) :] += int(length_s * TOKENS_PER_S)
        places.append(place)
    return Join(parts, places)


def read(llm: Llama, heard: Join) -> Memory:
    """What the LLM keeps of a join; the questions about it start from there."""
    return llm.read_turns(heard.parts, heard.places, deep=heard.is_deep)


def questions_loss(llm: Llama, heard: Join, memory: Memory, branches: list[Branch]) -> Tensor:
    """Mean over branches of their answers' cross-entropy: the mean of all tokens, and the sum of
    the first as often as the branch says.
    """
    n_before = heard.n_places
    rows = [torch.cat([b.prompt, llm.embed(b.answer[:-1])]) for b in branches]
    owner = torch.tensor([i for i, r in enumerate(rows) for _ in r])
    places = torch.tensor([n_before + j for r in rows for j in range(len(r))])[None]
    own = (owner[None, :] == owner[:, None]).tril()
    mask = torch.cat([torch.ones(len(owner), heard.n_rows, dtype=torch.bool), own], 1)[None, None]
    hidden = llm(torch.cat(rows)[None], places, mask, llm.cache_of(memory))[0]
    losses, at = [], 0
    for branch, row in zip(branches, rows, strict=True):
        at += len(row)
        said = llm.logits(hidden[at - len(branch.answer) : at]).float()
        each = F.cross_entropy(said, torch.tensor(branch.answer), reduction="none")
        losses.append(branch.first_weight * each[:FIRST_TOKENS].sum() + each.mean())
    return torch.stack(losses).mean()
