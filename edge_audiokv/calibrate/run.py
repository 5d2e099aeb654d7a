"""The calibration of one model: clips in, head profile out, resumable after every clip."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import numpy as np

from edge_audiokv.calibrate.clips import plan_joins
from edge_audiokv.calibrate.heads import HitTable, count_hits
from edge_audiokv.calibrate.parts import Parts
from edge_audiokv.calibrate.prefilled import Prefilled
from edge_audiokv.calibrate.sensitivity import LossTable, measure_loss
from edge_audiokv.calibrate.sound import sound_hits
from edge_audiokv.errors import InputError
from edge_audiokv.files import write_whole
from edge_audiokv.kv.profile import HeadProfile
from edge_audiokv.output.place import writing

Report = Callable[[str, int, int], None]


def _silent(_table: str, _done: int, _total: int) -> None:
    return None


@dataclass
class Calibration:
    """Three tables: "speech" (hit ratios), "sound" (hit ratios on loud frames), "loss" (ours).

    `state_path` holds what is done, so that a run can be broken off and taken up.
    """

    parts: Parts
    state_path: Path
    n_threads: int = 1
    report: Report = field(default=_silent)

    def __post_init__(self) -> None:
        shape = self.parts.model.shape
        self.speech = HitTable.empty(shape.n_layer, shape.n_kv_head)
        self.sound = HitTable.empty(shape.n_layer, shape.n_kv_head)
        self.loss = LossTable.empty(shape.n_layer, shape.n_kv_head)
        self._resume()

    def hits(self, manifest: Path, n_clips: int, min_confidence: float) -> None:
        """Add single utterances with word times to the speech table."""
        joins = plan_joins(self.parts, manifest, seconds=0, limit=n_clips)
        for done, join in enumerate(joins, 1):
            if join.id not in self.speech.seen:
                words = join.words(self.parts)
                count_hits(
                    self.parts,
                    join.encode(self.parts),
                    words,
                    self.speech,
                    min_confidence=min_confidence,
                    n_threads=self.n_threads,
                )
                self._save()
            self.report("speech", done, n_clips)
        if self.speech.n_steps == 0:
            raise InputError(
                f"No token of {manifest} aligns to a word of confidence {min_confidence}.",
                cure="Give clips with better word times, or lower --min-confidence.",
            )

    def sounds(self, manifest: Path, n_clips: int, question: str) -> None:
        """Add sounds (no words needed) to the sound table."""
        done = 0
        for done, (name, ratio) in enumerate(
            sound_hits(self.parts, manifest, n_clips, question, skip=self.sound.seen), 1
        ):
            self.sound.add(ratio)
            self.sound.n_clips += 1
            self.sound.seen.append(name)
            self._save()
            self.report("sound", done, n_clips)

    def losses(self, manifest: Path, n_clips: int, seconds: float, low_share: float) -> None:
        """Add joins of `seconds` to the loss table."""
        joins = list(
            plan_joins(self.parts, manifest, seconds=seconds, limit=n_clips, shuffle_seed=0)
        )
        if not joins:
            raise InputError(
                f"The clips of {manifest} are shorter than {seconds:g} s, all joined.",
                cure="Give more clips, or a lower --loss-seconds; or leave the loss table out:"
                " --tables speech.",
            )
        n_head = self.parts.model.shape.n_head
        for index, join in enumerate(joins):
            if join.id in self.loss.seen:
                continue
            steps = count(index * n_head + 1)

            def step(steps: Iterator[int] = steps) -> None:
                self.report("loss", next(steps), n_clips * n_head)

            clip = join.encode(self.parts)
            with Prefilled(self.parts, clip, n_threads=self.n_threads) as start:
                measure_loss(start, self.loss, low_share=low_share, each=step)
            self._save()

    def profile(self, *, made_with: str) -> HeadProfile:
        """The profile of what was measured so far."""
        local = self.parts.local
        tables, notes = {}, {}
        if self.speech.n_steps:
            tables["speech"] = self.speech.mean
            notes["speech"] = f"top-24 hit ratios, {self.speech.n_steps} steps"
        if self.sound.n_steps:
            tables["sound"] = self.sound.mean
            notes["sound"] = f"top-24 hit ratios on loud frames, {self.sound.n_steps} sounds"
        if self.loss.n_clips:
            tables["loss"] = self.loss.mean
            notes["loss"] = f"extra nats per token with one head cut, {self.loss.n_tokens} tokens"
        if not tables:
            raise InputError("Nothing was calibrated.", cure="Give --data.")
        samples = max(self.speech.n_clips, self.loss.n_clips, self.sound.n_clips)
        return HeadProfile(local.entry.name, local.model_hash, tables, made_with, samples, notes)

    # --- what is done -----------------------------------------------------------------------------

    def _save(self) -> None:
        data = {
            "model_hash": self.parts.local.model_hash,
            **{name: _dump(table) for name, table in self._tables().items()},
        }
        with writing(self.state_path):
            write_whole(self.state_path, json.dumps(data))

    def _resume(self) -> None:
        if not self.state_path.exists():
            return
        try:
            data = json.loads(self.state_path.read_text(encoding="utf-8"))
            if data["model_hash"] != self.parts.local.model_hash:
                return
            for name, table in self._tables().items():
                for key, value in data[name].items():
                    setattr(table, key, np.asarray(value) if key == "total" else value)
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
            raise InputError(
                f"The calibration state {self.state_path} is damaged.", cure="Delete it."
            ) from None

    def _tables(self) -> dict[str, HitTable | LossTable]:
        return {"speech": self.speech, "sound": self.sound, "loss": self.loss}


def _dump(table: HitTable | LossTable) -> dict[str, object]:
    return {**vars(table), "total": table.total.tolist()}
