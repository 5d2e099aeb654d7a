"""What the LLM reads while it learns: embedded prompts, laid out as the runtime lays them out.

Plain transcription; joins of several utterances under a task; rolling transcription with earlier
turns in context; recall asked in a turn of its own.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from edge_audiokv.eval.tasks import KINDS, TRANSCRIBE, Task, make_task, spoken_code
from edge_audiokv.train.batches import Batch
from edge_audiokv.train.llama import Llama
from edge_audiokv.train.text import HEAD, IM_END, TAIL, load_tokenizer

# How often each task is drawn for a join; transcription twice as often as the rest.
WEIGHTS = {
    "transcribe": 4,
    "rolling": 3,
    "first": 1,
    "last": 1,
    "repeat": 2,
    "mentioned": 1,
    "earlier": 1,
}
# How often recall is asked in a turn of its own, after turns that were transcribed one by one.
ASKED_SHARE = 0.4


@dataclass
class Example:
    """What the LLM reads: pieces of embeddings and tokens in order, then the answer's tokens."""

    parts: list[Tensor]
    answer: list[int]


class Prompter:
    """Builds embedded prompts exactly as the runtime does."""

    def __init__(self, llm: Llama) -> None:
        self.llm, self.tokenizer = llm, load_tokenizer()
        self.head = self.tokenizer.encode(HEAD).ids

    def tokens(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text).ids
        return ids

    def prompt(self, sounds: list[Tensor], question: str) -> list[Tensor]:
        """head, audio embeddings [T_i, d], question; as parts [*, d] to concatenate."""
        embed, dtype = self.llm.embed, self.llm.embeddings.dtype
        tail = self.tokens(TAIL.format(question=question))
        return [embed(self.head), *(s.to(dtype) for s in sounds), embed(tail)]

    def example(self, sounds: list[Tensor], question: str, answer: str) -> Example:
        return Example(self.prompt(sounds, question), [*self.tokens(answer), IM_END])

    def closed_turn(self, sounds: list[Tensor], text: str) -> list[Tensor]:
        """A whole earlier turn: sound, the question for its transcript, transcript, end."""
        answer = self.llm.embed(self.tokens(text + "<|im_end|>\n"))
        return [*self.prompt(sounds, TRANSCRIBE), answer]

    def rolling(self, sounds: list[Tensor], texts: list[str], turns: list[int]) -> Example:
        """Earlier turns of sound and transcript in context, then the last turn's transcript.

        `turns` cuts the segments: [0, 2, 3] means segments 0-1 first, then segment 2.
        """
        *earlier, (first, last) = pairwise(turns)
        parts: list[Tensor] = []
        for i, j in earlier:
            parts += self.closed_turn(sounds[i:j], " ".join(texts[i:j]))
        now = self.example(sounds[first:last], TRANSCRIBE, " ".join(texts[first:last]))
        return Example([*parts, *now.parts], now.answer)

    def asked(self, sounds: list[Tensor], texts: list[str], task: Task) -> Example:
        """Each segment a turn of its own with its transcript; then a turn that only asks."""
        parts: list[Tensor] = []
        for sound, text in zip(sounds, texts, strict=True):
            parts += self.closed_turn([sound], text)
        ask = self.tokens(HEAD + TAIL.format(question=task.question).lstrip("\n"))
        return Example([*parts, self.llm.embed(ask)], [*self.tokens(task.answer), IM_END])


def examples_of(
    batch: Batch, embeddings: Tensor, prompter: Prompter, join_share: float, rng: random.Random
) -> list[Example]:
    """Plain transcriptions, or with probability `join_share` joins under tasks."""
    sounds = [embeddings[i, :n] for i, n in enumerate(batch.tokens.tolist())]
    texts = batch.texts
    if len(texts) < 2 or rng.random() >= join_share:
        out = []
        for sound, text in zip(sounds, texts, strict=True):
            code = spoken_code(text)
            task = make_task([text], "code", rng, []) if code and rng.random() < 0.3 else None
            question, answer = (task.question, task.answer) if task else (TRANSCRIBE, text)
            out.append(prompter.example([sound], question, answer))
        return out
    order = list(range(len(texts)))
    rng.shuffle(order)
    words = [w for t in batch.texts for w in t.split()]
    out, at = [], 0
    while at < len(order):
        group = order[at : at + rng.randint(2, 8)]
        at += len(group)
        out.append(
            join_example(
                [sounds[i] for i in group], [texts[i] for i in group], prompter, rng, words
            )
        )
    return out


def join_example(
    sounds: list[Tensor], texts: list[str], prompter: Prompter, rng: random.Random, words: list[str]
) -> Example:
    """One join of segments under a task drawn by weight; a spoken code is always asked for."""
    if len(texts) == 1:
        return prompter.example(sounds, TRANSCRIBE, texts[0])
    kind = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
    if any(spoken_code(t) for t in texts) and rng.random() < 0.7:
        kind = "code"
    if kind == "rolling":
        cuts = sorted(rng.sample(range(1, len(texts)), rng.randint(1, min(3, len(texts) - 1))))
        return prompter.rolling(sounds, texts, [0, *cuts, len(texts)])
    task = make_task(texts, kind if kind in KINDS else "transcribe", rng, words)
    if task is None:
        return prompter.example(sounds, TRANSCRIBE, " ".join(texts))
    if kind != "transcribe" and rng.random() < ASKED_SHARE:
        return prompter.asked(sounds, texts, task)
    return prompter.example(sounds, task.question, task.answer)


def llm_loss(llm: Llama, examples: list[Example]) -> Tensor:
    """Mean next-token cross-entropy over the answers' tokens."""
    rows, places, wanted = [], [], []
    for example in examples:
        prompt = torch.cat(example.parts)
        rows.append(torch.cat([prompt, llm.embed(example.answer[:-1])]))
        places.append(len(prompt) - 1)
        wanted += example.answer
    hidden = llm(torch.nn.utils.rnn.pad_sequence(rows, batch_first=True))
    answers = [
        hidden[i, at : at + len(e.answer)]
        for i, (at, e) in enumerate(zip(places, examples, strict=True))
    ]
    return F.cross_entropy(llm.logits(torch.cat(answers)).float(), torch.tensor(wanted))
