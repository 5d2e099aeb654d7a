"""Stage one: the audio model learns to hear, under CTC over Whisper's words."""

from __future__ import annotations

import random
from pathlib import Path

import torch

from edge_audiokv.train import state
from edge_audiokv.train.batches import Batch
from edge_audiokv.train.config import Run
from edge_audiokv.train.listener import build_listener, greedy_wer, hear, open_sets, word_loss
from edge_audiokv.train.schedule import Clock, Every, clip_and_step, set_rates

# Where to look is learned faster than what it means: that, Whisper knows.
HABITS = 10.0


class CtcTrainer:
    """Everything that a run of stage one holds; `run` goes on until its time or steps are used."""

    def __init__(self, run: Run) -> None:
        torch.set_num_threads(run.threads)
        self.stage, self.out_dir, self.target = run.ctc, run.out_dir, run.out_dir / "ctc.pt"
        resumed = state.load(self.target) if self.target.exists() else None
        first = resumed or (state.load(run.path(run.init)) if run.init else None)
        torch.manual_seed(run.seed)
        self.listener = build_listener(run, first)
        self.step = int(resumed["step"]) if resumed else 0
        self.clock = Clock(self.stage.minutes, float(resumed["used_s"]) if resumed else 0.0)
        torch.manual_seed(run.seed + self.step)
        self.rng = random.Random(run.seed + self.step)
        self.train, self.dev = open_sets(run, self.listener)
        audio = self.listener.audio
        audio.encoder.freeze_below(self.stage.train_encoder_from)
        self.tail = [p for p in audio.encoder.parameters() if p.requires_grad]
        words = [audio.words.blank, audio.words.bias, audio.words.scale]
        self.rest = [*audio.decoder.parameters(), *words]
        groups = (
            (self.tail, self.stage.lr_encoder),
            (audio.decoder.weights(), self.stage.lr),
            ([*audio.decoder.habits(), *words], HABITS * self.stage.lr),
        )
        self.optimizer = torch.optim.AdamW(
            [{"params": params, "base": base, "lr": 0.0} for params, base in groups if params],
            betas=(0.9, 0.98),
            weight_decay=0.01,
        )
        if resumed:
            self.optimizer.load_state_dict(resumed["optimizer"])
        self.losses = state.Averages()
        self.log = state.Log(run.out_dir / "ctc.jsonl")

    def run(self) -> Path:
        stage = self.stage
        self.log.write(step=self.step, hours=round(self.train.hours, 2), utterances=len(self.train))
        evaluate, keep = Every(stage.evaluate_every_min), Every(stage.save_every_min)
        for batch in self.train.stream(stage.batch_s, self.rng):
            if self.clock.over or (stage.max_steps and self.step >= stage.max_steps):
                break
            self.learn(batch)
            if self.step % stage.log_every == 0:
                self.log.write(step=self.step, **self.losses.rounded())
            if keep.due():
                self.save()
            if evaluate.due():
                self.measure()
        self.save()
        self.measure()
        state.draw_curves(self.log.path, self.out_dir / "ctc.png")
        return self.target

    def learn(self, batch: Batch) -> None:
        stage = self.stage
        set_rates(self.optimizer, self.step, self.clock.share, stage.warmup_steps, stage.final_lr)
        with torch.autocast("cpu", torch.bfloat16):
            heard = hear(self.listener.audio, batch)
            loss = word_loss(batch, heard)
        self.optimizer.zero_grad()
        loss.backward()
        clip_and_step(self.optimizer, self.tail, self.rest)
        self.step += 1
        self.losses.add(batch.seconds, ctc=loss)

    def save(self) -> None:
        extra = {"step": self.step, "used_s": self.clock.used_s}
        moments = {"optimizer": self.optimizer.state_dict()}
        state.save(self.target, {**self.listener.state(), **extra, **moments})

    def measure(self) -> None:
        found = {f"wer_{n}": greedy_wer(self.listener, speech) for n, speech in self.dev.items()}
        self.log.write(step=self.step, **found)


def train_ctc(run: Run) -> Path:
    """Run or resume stage one; returns the checkpoint's path."""
    return CtcTrainer(run).run()
