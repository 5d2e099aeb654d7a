"""Stage two: through the LLM. The frozen LLM with LoRA reads the audio embeddings and answers.

Each step mixes plain transcription with joins of several utterances under a task: transcribe all,
go on from a given start (rolling), recall, digit code; and with noise that has nothing to say.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from edge_audiokv.train import state
from edge_audiokv.train.augment import silence
from edge_audiokv.train.batches import Batch, Mixture
from edge_audiokv.train.config import LlmStage, Run
from edge_audiokv.train.corpus import Audio, Corpus
from edge_audiokv.train.ctc_stage import Listener, build_listener, ctc_losses, hear, open_sets
from edge_audiokv.train.llama import Llama
from edge_audiokv.train.schedule import Clock, Every, set_rates
from edge_audiokv.train.tasks import KINDS, Task, make_task, spoken_code
from edge_audiokv.train.text import HEAD, IM_END, TAIL, TRANSCRIBE, load_tokenizer
from edge_audiokv.train.wer import word_error_rate

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
    batch: Batch, embeddings: Tensor, prompter: Prompter, stage: LlmStage, rng: random.Random
) -> list[Example]:
    """Plain transcriptions, or with probability `join_share` joins under tasks."""
    sounds = [embeddings[i, :n] for i, n in enumerate(batch.tokens.tolist())]
    texts = batch.texts
    if len(texts) < 2 or rng.random() >= stage.join_share:
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


def hear_more(listener: Listener, batch: Batch, stage: LlmStage) -> Tensor:
    """The CTC loss of one more batch, which the LLM does not read."""
    with torch.autocast("cpu", torch.bfloat16):
        features, hidden, _ = hear(listener.audio, batch)
        pieces, letters = ctc_losses(listener, batch, features, hidden, stage.negatives)
    return pieces + 0.3 * letters


def clip_and_step(optimizer: torch.optim.Optimizer, *groups: list[torch.nn.Parameter]) -> None:
    """One update, each group's gradient clipped apart: CTC's would drown the others in one norm."""
    for group in groups:
        torch.nn.utils.clip_grad_norm_(group, 1.0)
    optimizer.step()


class NoiseSource:
    """Sound without speech: half of the noise clips, and near silence."""

    def __init__(self, noise: Corpus | None) -> None:
        self.noise = noise

    def draw(self, rng: random.Random) -> Audio:
        if self.noise is None or not len(self.noise) or rng.random() < 0.3:
            return silence(rng, rng.uniform(1.0, 8.0))
        return self.noise.audio(rng.randrange(len(self.noise)))


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
            _, _, embeddings = hear(listener.audio, batch)
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


def train_llm(run: Run) -> Path:
    """Run or resume stage two from stage one's checkpoint; returns the checkpoint's path."""
    torch.set_num_threads(run.threads)
    stage, target = run.llm, run.out_dir / "llm.pt"
    resumed = state.load(target) if target.exists() else None
    first = resumed or state.load(run.out_dir / "ctc.pt" if not run.init else run.path(run.init))
    torch.manual_seed(run.seed)
    listener = build_listener(run, first)
    llm = Llama(int(first.get("lora_rank", stage.lora_rank)))
    if "lora" in first:
        llm.load_lora(first["lora"])
    step = int(resumed["step"]) if resumed else 0
    clock = Clock(stage.minutes, float(resumed["used_s"]) if resumed else 0.0)
    torch.manual_seed(run.seed + step)
    rng = random.Random(run.seed + step)
    train, dev = open_sets(run, listener.vocabulary)
    noise = NoiseSource(train.sets[0].noise)
    audio = listener.audio
    audio.encoder.freeze_below(stage.train_encoder_from)
    lora = list(llm.lora_parameters())
    heads = [*listener.pieces.parameters(), *listener.letters.parameters()]
    rest = [p for p in audio.parameters() if p.requires_grad]
    by_lora = torch.optim.AdamW(
        [{"params": lora, "base": stage.lr_lora, "lr": 0.0}], betas=(0.9, 0.98), weight_decay=0.0
    )
    by_audio = torch.optim.AdamW(
        [{"params": [*rest, *heads], "base": stage.lr_audio, "lr": 0.0}],
        betas=(0.9, 0.98),
        weight_decay=0.01,
    )
    optimizers = {"lora": by_lora, "audio": by_audio}
    if resumed:
        for name, optimizer in optimizers.items():
            optimizer.load_state_dict(resumed["optimizers"][name])
    prompter, log = Prompter(llm), state.Log(run.out_dir / "llm.jsonl")
    log.write(step=step, hours=round(train.hours, 2), utterances=len(train))
    evaluate, keep, heard = Every(stage.evaluate_every_min), Every(stage.save_every_min), 0.0
    mean: dict[str, float] = {}

    def checkpoint() -> None:
        moments = {name: o.state_dict() for name, o in optimizers.items()}
        extra = {"step": step, "used_s": clock.used_s, "optimizers": moments}
        model = {"lora": llm.lora_state(), "lora_rank": llm.rank}
        state.save(target, {**listener.state(), **model, **extra})

    def measure() -> None:
        found: dict[str, Any] = {}
        for name, speech in dev.items():
            said, got = transcribe(
                listener, llm, speech, stage.evaluate_utterances, stage.max_new_tokens
            )
            found[f"wer_{name}"] = round(word_error_rate(said, got, 10).rate, 4)
            cut = [cut_loop(g) for g in got]
            found[f"wer_{name}_cut"] = round(word_error_rate(said, cut, 10).rate, 4)
            for i in range(0, len(said), max(1, len(said) // 3)):
                print("  said ", said[i], "\n  heard", got[i], flush=True)
        log.write(step=step, **found)

    beside = train.stream(stage.ctc_batch_s, random.Random(rng.random()))
    for batch in train.stream(stage.batch_s, rng):
        if clock.over or (stage.max_steps and step >= stage.max_steps):
            break
        for optimizer in optimizers.values():
            set_rates(optimizer, step, clock.share, stage.warmup_steps, stage.final_lr)
        for _ in range(stage.ctc_batches):
            by_audio.zero_grad()
            hear_more(listener, next(beside), stage).backward()
            clip_and_step(by_audio, rest, heads)
        with torch.autocast("cpu", torch.bfloat16):
            features, hidden, embeddings = hear(audio, batch)
            pieces, letters = ctc_losses(listener, batch, features, hidden, stage.negatives)
        examples = examples_of(batch, embeddings, prompter, stage, rng)
        if rng.random() < stage.noise_share:
            mel = train.sets[0].mel(noise.draw(rng))[None]
            with torch.autocast("cpu", torch.bfloat16):
                empty = audio.project(audio.encode(mel))[1][0]
            examples.append(prompter.example([empty], TRANSCRIBE, ""))
        words = llm_loss(llm, examples)
        loss = words + stage.ctc_weight * (pieces + 0.3 * letters)
        for optimizer in optimizers.values():
            optimizer.zero_grad()
        loss.backward()
        clip_and_step(by_lora, lora)
        clip_and_step(by_audio, rest, heads)
        step += 1
        heard += batch.seconds
        for name, value in (("words", words), ("pieces", pieces), ("letters", letters)):
            value = value.detach()
            mean[name] = 0.96 * mean.get(name, float(value)) + 0.04 * float(value)
        if step % stage.log_every == 0:
            losses = {f"loss_{k}": round(v, 4) for k, v in mean.items()}
            log.write(step=step, **losses, heard_h=round(heard / 3600, 2))
        if keep.due():
            checkpoint()
        if evaluate.due():
            measure()
    checkpoint()
    measure()
    state.draw_curves(log.path, run.out_dir / "llm.png")
    return target
