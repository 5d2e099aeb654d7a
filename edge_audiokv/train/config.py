"""One TOML file a run: data, both stages, where results go."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from edge_audiokv.errors import InputError


@dataclass(frozen=True)
class Data:
    """Corpus paths without suffix, relative to the configuration file.

    `variations` names the stored feature variations of each training corpus; when empty, sound is
    varied and encoded at every step (needed when encoder layers train).
    """

    train: tuple[str, ...] = ()
    repeat: dict[str, int] = field(default_factory=dict)
    variations: dict[str, list[int]] = field(default_factory=dict)
    noise: str = ""
    dev: dict[str, str] = field(default_factory=dict)
    vocabulary_texts: tuple[str, ...] = ()


@dataclass(frozen=True)
class CtcStage:
    """Frame decoder, projector (and encoder layers from `train_encoder_from`) under word CTC.

    A stage ends after `minutes` of wall clock, or `max_steps` if that is above nought.
    """

    minutes: float = 60.0
    max_steps: int = 0
    batch_s: float = 80.0
    lr: float = 3e-4
    lr_encoder: float = 2e-4
    warmup_steps: int = 60
    final_lr: float = 0.03
    train_encoder_from: int = 4
    log_every: int = 20
    evaluate_every_min: float = 8.0
    save_every_min: float = 3.0


@dataclass(frozen=True)
class LlmStage:
    """Through the LLM with LoRA; CTC goes on beside it, ten times cheaper a second of sound.

    `noise_share` is how many sounds without speech a step adds, on average; without them the model
    finds words in any noise. Each step adds `ctc_batches` batches under CTC alone to the one that
    the LLM reads, and on average `recall_share` joins of up to `recall_s`, from which only the LoRA
    learns: up to `questions` about each, anew at each of `recall_updates` (one for short joins,
    through which all gradients go). `written_share` of the joins are turns of text alone; of the
    others a tenth is one turn of sound, and `in_view_share` of the rest are turns that saw those
    before them. After turns of sound `rolling` utterances are to be transcribed as well.
    """

    minutes: float = 60.0
    max_steps: int = 0
    batch_s: float = 90.0
    lr_lora: float = 5e-4
    lr_audio: float = 1e-4
    lr_projector: float = 4e-4
    warmup_steps: int = 30
    final_lr: float = 0.03
    lora_rank: int = 16
    ctc_weight: float = 0.2
    ctc_batches: int = 2
    ctc_batch_s: float = 90.0
    train_encoder_from: int = 4
    join_share: float = 0.3
    noise_share: float = 0.5
    recall_share: float = 0.0
    written_share: float = 0.0
    recall_s: float = 120.0
    questions: int = 12
    rolling: int = 0
    recall_updates: int = 1
    in_view_share: float = 0.4
    log_every: int = 10
    evaluate_every_min: float = 12.0
    evaluate_utterances: int = 40
    save_every_min: float = 3.0
    max_new_tokens: int = 120


@dataclass(frozen=True)
class Run:
    """All of a run; `folder` is where the configuration file lies."""

    folder: Path
    out: str = "run"
    seed: int = 0
    threads: int = 2
    device: str = "cpu"
    init: str = ""
    vocabulary_size: int = 9_500
    data: Data = field(default_factory=Data)
    ctc: CtcStage = field(default_factory=CtcStage)
    llm: LlmStage = field(default_factory=LlmStage)

    def path(self, name: str) -> Path:
        return self.folder / name

    @property
    def out_dir(self) -> Path:
        return self.folder / self.out


def _fill(kind: Any, values: dict[str, Any], where: str) -> Any:
    known = {f.name for f in fields(kind)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise InputError(
            f"{where} has unknown settings: {', '.join(unknown)}.",
            cure=f"Known: {', '.join(sorted(known))}.",
        )
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def load_run(path: Path) -> Run:
    """Read a run; unknown keys are refused, so that a typing error cannot pass as a default."""
    try:
        raw = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: {error}.", cure="See scripts/train_default.toml.") from error
    tables = {"data": Data, "ctc": CtcStage, "llm": LlmStage}
    parts = {n: _fill(kind, raw.pop(n, {}), f"[{n}] of {path.name}") for n, kind in tables.items()}
    run: Run = _fill(Run, {**raw, "folder": path.resolve().parent, **parts}, path.name)
    return run
