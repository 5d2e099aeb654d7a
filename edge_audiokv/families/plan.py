"""What a family makes of a checkpoint, before anything is computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from edge_audiokv.families.adapter import Adapter
from edge_audiokv.families.checkpoint import Checkpoint


@dataclass(frozen=True)
class Sound:
    """The fields of [audio] in model.toml; see models/README.md."""

    tokens_per_second: float
    max_audio_s: float
    token_rule: str = "linear"
    block_s: float | None = None
    chunk_s: float | None = None


@dataclass(frozen=True)
class Wording:
    """The fields of [prompt] in model.toml."""

    template: str
    end_of_turn: str
    question: str = ""
    ask: str = ""
    answer_after: str = ""
    answer_tags: str = ""
    in_language: str = ""
    translate: str = ""
    translates_to: tuple[str, ...] = ()


@dataclass(frozen=True)
class Language:
    """The language model inside a checkpoint.

    `architecture` is the plain one of llama.cpp's converter, `config` its configuration, and
    `prefixes` what names of tensors begin with -> begin with there. `own_tokenizer` is the folder
    of a tokenizer.json that was made for a checkpoint without one; `adapter` is merged into it, and
    has the names of the plain architecture. `most_tokens` are the positions that are served, where
    they are fewer than `config` has.
    """

    checkpoint: Checkpoint
    architecture: str
    config: dict[str, Any]
    prefixes: tuple[tuple[str, str], ...]
    own_tokenizer: Path | None = None
    adapter: Adapter | None = None
    most_tokens: int | None = None

    @property
    def context_tokens(self) -> int:
        """How many positions there are."""
        return self.most_tokens or int(self.config["max_position_embeddings"])

    @property
    def tokenizer(self) -> Path:
        """The folder of its tokenizer."""
        return self.own_tokenizer or self.checkpoint.folder

    @property
    def count(self) -> int:
        """Numbers in its tensors."""
        return self.checkpoint.count(*(old for old, _ in self.prefixes))


@dataclass(frozen=True)
class Plan:
    """What becomes of the checkpoint in `folder`.

    `tower` makes the module samples [1, S] -> rows [1, T, d_model], weights and all; `tower_count`
    is the numbers in it. `notes` are what a person should know of the result, `others` the folders
    that it reads beside `folder` and the language model's.
    """

    family: str
    folder: Path
    sound: Sound
    wording: Wording
    language: Language
    tower: Callable[[], nn.Module]
    tower_count: int
    licences: dict[str, str]
    languages: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())
    others: tuple[Path, ...] = ()
