"""Recall over joined utterances: accuracy by task and length, with the sound, and with noise."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import Tensor

from edge_audiokv.eval.tasks import KINDS, Task, is_right, make_task
from edge_audiokv.train.batches import Mixture
from edge_audiokv.train.listener import Listener, hear
from edge_audiokv.train.llama import Llama
from edge_audiokv.train.prompts import Prompter


@dataclass(frozen=True)
class Score:
    """Right answers of one task at one length; chance is one half for yes/no and for earlier."""

    kind: str
    seconds: float
    tries: int
    right: int


@torch.no_grad()
def embed_all(listener: Listener, speech: Mixture) -> list[Tensor]:
    """LLM embeddings [T_i, d] of every utterance, each encoded alone."""
    out: list[Tensor] = []
    for at in range(0, len(speech), 16):
        rows = list(range(at, min(at + 16, len(speech))))
        batch = speech.batch(rows)
        with torch.autocast("cpu", torch.bfloat16):
            embeddings = hear(listener.audio, batch).embeddings
        out += [embeddings[i, :n] for i, n in enumerate(batch.tokens.tolist())]
    return out


@torch.no_grad()
def recall(
    listener: Listener,
    llm: Llama,
    speech: Mixture,
    seconds: float,
    tries: int,
    deaf: bool = False,
    seed: int = 0,
    kinds: tuple[str, ...] = KINDS[1:],
) -> list[Score]:
    """Ask each kind `tries` times over joins of about `seconds`; `deaf` swaps sound for noise.

    Noise has the mean and spread of the embeddings, so that only the content is lost.
    """
    rng, prompter = random.Random(seed), Prompter(llm)
    sounds = embed_all(listener, speech)
    texts = [speech.sets[k].texts[i] for k, i in speech.places]
    length = [len(s) * 0.08 for s in sounds]
    vocabulary = [w for t in texts for w in t.split()]
    every = torch.cat(sounds).float()
    mean, spread = every.mean(0), every.std(0)
    scores = []
    for kind in kinds:
        asked: list[Task] = []
        prompts: list[Tensor] = []
        for _ in range(tries * 20):
            if len(asked) == tries:
                break
            order = rng.sample(range(len(sounds)), len(sounds))
            group, total = [], 0.0
            while order and total < seconds:
                group.append(order.pop())
                total += length[group[-1]]
            task = make_task([texts[i] for i in group], kind, rng, vocabulary)
            if task is None:
                continue
            parts = [sounds[i] for i in group]
            if deaf:
                parts = [mean + spread * torch.randn(p.shape) for p in parts]
            asked.append(task)
            prompts.append(torch.cat(prompter.prompt(parts, task.question)))
        right = 0
        for task, prompt in zip(asked, prompts, strict=True):
            answer = prompter.tokenizer.decode(llm.generate([prompt], 60)[0])
            right += is_right(task, " ".join(answer.split()))
        scores.append(Score(kind, seconds, len(asked), right))
    return scores
