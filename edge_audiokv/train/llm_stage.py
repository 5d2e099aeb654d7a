"""Stage two: through the LLM. The frozen LLM with LoRA reads the audio embeddings and answers.

CTC goes on beside it: a second of sound costs it a tenth of what the LLM costs.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edge_audiokv.eval.tasks import TRANSCRIBE
from edge_audiokv.train import questions, state
from edge_audiokv.train.augment import NoiseSource
from edge_audiokv.train.batches import Batch
from edge_audiokv.train.config import Run
from edge_audiokv.train.listener import build_listener, hear, open_sets, word_loss
from edge_audiokv.train.llama import Llama, groups_of_like_length
from edge_audiokv.train.prompts import Example, Prompter, examples_of, llm_loss
from edge_audiokv.train.schedule import Clock, Every, clip_and_step, set_rates
from edge_audiokv.train.transcribe import cut_loop, transcribe
from edge_audiokv.train.wer import word_error_rate

# Positions of a question, or of 30 s of sound, and the answer.
LONGEST_BRANCH = 640


class LlmTrainer:
    """Everything that a run of stage two holds; `run` goes on until its time or steps are used."""

    def __init__(self, run: Run) -> None:
        torch.set_num_threads(run.threads)
        self.stage, self.out_dir, self.target = run.llm, run.out_dir, run.out_dir / "llm.pt"
        resumed = state.load(self.target) if self.target.exists() else None
        start = run.path(run.init) if run.init else run.out_dir / "ctc.pt"
        first = resumed or state.load(start)
        torch.manual_seed(run.seed)
        self.listener = build_listener(run, first)
        self.llm = Llama(int(first.get("lora_rank", self.stage.lora_rank)))
        if "lora" in first:
            self.llm.load_lora(first["lora"])
        self.step = int(resumed["step"]) if resumed else 0
        self.clock = Clock(self.stage.minutes, float(resumed["used_s"]) if resumed else 0.0)
        torch.manual_seed(run.seed + self.step)
        self.rng = random.Random(run.seed + self.step)
        self.train, self.dev = open_sets(run, self.listener)
        self.noise = NoiseSource(self.train.sets[0].noise)
        self.prompter = Prompter(self.llm)
        self.listener.audio.encoder.freeze_below(self.stage.train_encoder_from)
        self.lora = list(self.llm.lora_parameters())
        audio = self.listener.audio
        parts = (audio.projector, audio.bridge, audio.words)
        self.new = [p for part in parts for p in part.parameters() if p.requires_grad]
        own = {id(p) for p in self.new}
        self.rest = [p for p in audio.parameters() if p.requires_grad and id(p) not in own]
        self.optimizers = {
            "lora": self._optimizer(self.lora, self.stage.lr_lora, 0.0),
            "audio": self._optimizer(self.rest, self.stage.lr_audio, 0.01),
            "projector": self._optimizer(self.new, self.stage.lr_projector, 0.01),
        }
        if resumed:
            for name, optimizer in self.optimizers.items():
                optimizer.load_state_dict(resumed["optimizers"][name])
        self.losses = state.Averages()
        self.log = state.Log(run.out_dir / "llm.jsonl")

    @staticmethod
    def _optimizer(
        parameters: list[torch.nn.Parameter], base: float, decay: float
    ) -> torch.optim.Optimizer:
        group = {"params": parameters, "base": base, "lr": 0.0}
        return torch.optim.AdamW([group], betas=(0.9, 0.98), weight_decay=decay)

    def run(self) -> Path:
        stage = self.stage
        self.log.write(step=self.step, hours=round(self.train.hours, 2), utterances=len(self.train))
        evaluate, keep = Every(stage.evaluate_every_min), Every(stage.save_every_min)
        beside = self.train.stream(stage.ctc_batch_s, random.Random(self.rng.random()))
        for batch in self.train.stream(stage.batch_s, self.rng):
            if self.clock.over or (stage.max_steps and self.step >= stage.max_steps):
                break
            for optimizer in self.optimizers.values():
                set_rates(
                    optimizer, self.step, self.clock.share, stage.warmup_steps, stage.final_lr
                )
            for _ in range(stage.ctc_batches):
                self.learn_to_hear(next(beside))
            self.learn_to_answer(batch)
            share = stage.recall_share
            for _ in range(int(share) + (self.rng.random() < share % 1)):
                self.learn_to_recall()
            if self.step % stage.log_every == 0:
                self.log.write(step=self.step, **self.losses.rounded())
            if keep.due():
                self.save()
            if evaluate.due():
                self.measure()
        self.save()
        self.measure()
        state.draw_curves(self.log.path, self.out_dir / "llm.png")
        return self.target

    def _hear(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(CTC loss, embeddings [B, T, d])."""
        with torch.autocast("cpu", torch.bfloat16):
            heard = hear(self.listener.audio, batch)
            loss = word_loss(batch, heard)
        self.losses.add(0.0, ctc=loss)
        return loss, heard.embeddings

    def _step_audio(self) -> None:
        clip_and_step(self.optimizers["audio"], self.rest)
        clip_and_step(self.optimizers["projector"], self.new)

    def learn_to_hear(self, batch: Batch) -> None:
        """One update of the audio side alone, from a batch that the LLM does not read."""
        for name in ("audio", "projector"):
            self.optimizers[name].zero_grad()
        self._hear(batch)[0].backward()
        self._step_audio()

    def learn_to_answer(self, batch: Batch) -> None:
        """One update of the audio side and the LoRA, through the LLM."""
        loss, embeddings = self._hear(batch)
        examples = examples_of(batch, embeddings, self.prompter, self.stage.join_share, self.rng)
        share = self.stage.noise_share
        for _ in range(int(share) + (self.rng.random() < share % 1)):
            examples.append(self._nothing_said())
        answers = llm_loss(self.llm, examples)
        for optimizer in self.optimizers.values():
            optimizer.zero_grad()
        (answers + self.stage.ctc_weight * loss).backward()
        clip_and_step(self.optimizers["lora"], self.lora)
        self._step_audio()
        self.step += 1
        self.losses.add(batch.seconds, answers=answers)

    def learn_to_recall(self) -> None:
        """Updates of the LoRA from questions about a join of random utterances, and from what is
        said next.
        """
        stage, rng = self.stage, self.rng
        written = rng.random() < stage.written_share
        # Long joins of sound cost most: short ones are drawn oftener.
        share = rng.uniform(0.3, 1.0) if written else rng.uniform(0.25, 1.0) ** 1.6
        chosen = questions.draw_join(self.train, stage.recall_s * share, rng)
        # Words that were not said come from another join, so that they are of the same kind.
        others = [
            word
            for text in self._texts(questions.draw_join(self.train, stage.recall_s, rng))
            for word in text.split()
        ]
        texts = self._texts(chosen)
        if written:
            places = [self.train.places[place] for place in chosen]
            lengths_s = [self.train.sets[k].seconds[i] for k, i in places]
            heard = questions.written_join(lengths_s, texts, self.prompter)
        else:
            heard = questions.join(
                self._embed(chosen), texts, self.prompter, rng, stage.in_view_share
            )
        if heard.n_places + LONGEST_BRANCH > len(self.llm.cos):
            return  # many short utterances: more positions than the LLM has
        memory = questions.read(self.llm, heard)
        # Through a deep reading gradients can go back once only.
        for _ in range(1 if heard.is_deep else stage.recall_updates):
            branches = questions.ask(
                texts, others, self.prompter, rng, stage.questions, in_turns=heard.in_turns
            )
            if not written and heard.in_turns:
                known = {self.train.places[place] for place in chosen}
                after = [i for i, place in enumerate(self.train.places) if place not in known]
                after = rng.sample(after, stage.rolling)
                branches += [
                    questions.say_next(sound, text, self.prompter)
                    for sound, text in zip(self._embed(after), self._texts(after), strict=True)
                ]
            if not branches:
                return
            loss = questions.questions_loss(self.llm, heard, memory, branches)
            self.optimizers["lora"].zero_grad()
            loss.backward()
            clip_and_step(self.optimizers["lora"], self.lora)
            self.losses.add(0.0, **{"written" if written else "recall": loss})

    @torch.no_grad()
    def _embed(self, chosen: list[int]) -> list[Tensor]:
        """Embeddings [T_i, d] of utterances, each varied, heard in groups of like length."""
        out: dict[int, Tensor] = {}
        seconds = (
            self.train.sets[k].seconds[i] for k, i in map(self.train.places.__getitem__, chosen)
        )
        for group in groups_of_like_length([round(100 * s) for s in seconds]):
            batch = self.train.batch([chosen[i] for i in group], self.rng)
            with torch.autocast("cpu", torch.bfloat16):
                embeddings = hear(self.listener.audio, batch).embeddings
            out |= {i: embeddings[j, : batch.tokens[j]] for j, i in enumerate(group)}
        return [out[i] for i in range(len(chosen))]

    def _texts(self, chosen: list[int]) -> list[str]:
        places = (self.train.places[place] for place in chosen)
        return [self.train.sets[k].texts[i] for k, i in places]

    def _nothing_said(self) -> Example:
        audio = self.listener.audio
        mel = self.train.sets[0].mel(self.noise.draw(self.rng))[None]
        with torch.autocast("cpu", torch.bfloat16):
            sound = audio.hear(audio.encode(mel)).embeddings[0]
        return self.prompter.example([sound], TRANSCRIBE, "")

    def save(self) -> None:
        extra = {"step": self.step, "used_s": self.clock.used_s}
        moments = {"optimizers": {n: o.state_dict() for n, o in self.optimizers.items()}}
        lora = {"lora": self.llm.lora_state(), "lora_rank": self.llm.rank}
        state.save(self.target, {**self.listener.state(), **lora, **extra, **moments})

    def measure(self) -> None:
        stage, found = self.stage, dict[str, Any]()
        for name, speech in self.dev.items():
            said, heard = transcribe(
                self.listener, self.llm, speech, stage.evaluate_utterances, stage.max_new_tokens
            )
            cut = [cut_loop(h) for h in heard]
            found[f"wer_{name}"] = round(word_error_rate(said, heard, 10).rate, 4)
            found[f"wer_{name}_cut"] = round(word_error_rate(said, cut, 10).rate, 4)
            for i in range(0, len(said), max(1, len(said) // 3)):
                print("  said ", said[i], "\n  heard", heard[i], flush=True)
        self.log.write(step=self.step, **found)


def train_llm(run: Run) -> Path:
    """Run or resume stage two from stage one's checkpoint; returns the checkpoint's path."""
    return LlmTrainer(run).run()
