"""Greedy transcripts of many utterances at once, and the cut that a loop guard would make."""

from __future__ import annotations

import torch

from edge_audiokv.eval.tasks import TRANSCRIBE
from edge_audiokv.train.batches import Mixture
from edge_audiokv.train.listener import Listener, hear
from edge_audiokv.train.llama import Llama
from edge_audiokv.train.prompts import Prompter, llm_loss


@torch.no_grad()
def transcribe(
    listener: Listener, llm: Llama, speech: Mixture, most: int, max_new: int, rows_at_once: int = 20
) -> tuple[list[str], list[str]]:
    """Greedy transcripts of up to `most` utterances: (said, heard)."""
    prompter = Prompter(llm)
    said: list[str] = []
    heard: list[str] = []
    chosen = sorted(range(len(speech)), key=lambda c: (c * 7919) % len(speech))[:most]
    chosen.sort(key=lambda c: speech.sets[speech.places[c][0]].seconds[speech.places[c][1]])
    for at in range(0, len(chosen), rows_at_once):
        batch = speech.batch(chosen[at : at + rows_at_once])
        with torch.autocast("cpu", torch.bfloat16):
            embeddings = hear(listener.audio, batch).embeddings
        prompts = [
            torch.cat(prompter.prompt([embeddings[i, :n]], TRANSCRIBE))
            for i, n in enumerate(batch.tokens.tolist())
        ]
        limit = min(max_new, 12 + int(0.6 * int(batch.tokens.max())))
        said += batch.texts
        heard += [
            " ".join(prompter.tokenizer.decode(o).split()) for o in llm.generate(prompts, limit)
        ]
    return said, heard


def cut_loop(text: str, size: int = 4) -> str:
    """Text up to the first word n-gram that comes back at once or soon: what a loop guard does."""
    words = text.split()
    seen: dict[tuple[str, ...], int] = {}
    for i in range(len(words) - size + 1):
        gram = tuple(words[i : i + size])
        if gram in seen and i - seen[gram] <= 3 * size:
            return " ".join(words[:i])
        seen[gram] = i
    return text


@torch.no_grad()
def nats_per_token(
    listener: Listener, llm: Llama, speech: Mixture, most: int, rows_at_once: int = 10
) -> float:
    """Mean cross-entropy of the true transcripts' tokens: smoother than WER on few utterances."""
    prompter, total, tokens = Prompter(llm), 0.0, 0
    rows = list(range(len(speech)))[:most]
    rows.sort(key=lambda c: speech.sets[speech.places[c][0]].seconds[speech.places[c][1]])
    for at in range(0, len(rows), rows_at_once):
        batch = speech.batch(rows[at : at + rows_at_once])
        with torch.autocast("cpu", torch.bfloat16):
            embeddings = hear(listener.audio, batch).embeddings
        examples = [
            prompter.example([embeddings[i, :n]], TRANSCRIBE, batch.texts[i])
            for i, n in enumerate(batch.tokens.tolist())
        ]
        size = sum(len(e.answer) for e in examples)
        total += float(llm_loss(llm, examples)) * size
        tokens += size
    return total / max(1, tokens)
