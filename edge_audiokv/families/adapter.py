"""An adapter (LoRA) that lies beside a checkpoint's weights, to be merged into its language model.

Method: Hu et al. 2021, arXiv:2106.09685, section 4.1: W + scale * B A; the files are peft's.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_audiokv.errors import ModelError
from edge_audiokv.families.tensors import Stored, read_header, read_json

if TYPE_CHECKING:
    from torch import Tensor

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_BEFORE = "base_model.model."
_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"
# What changes the arithmetic, and what it is where it does not.
_PLAIN: dict[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "bias": ("none", None),
    "use_dora": (False, None),
    "lora_bias": (False, None),
    "fan_in_fan_out": (False, None),
    "rank_pattern": ({}, None),
    "alpha_pattern": ({}, None),
    "modules_to_save": ([], None),
    "trainable_token_indices": ([], {}, None),
    "target_parameters": ([], None),
}


@dataclass(frozen=True)
class Adapter:
    """Matrices of `file`, by the weight that they are for: name of A [r, in] and of B [out, r]."""

    file: Path
    scale: float
    pairs: dict[str, tuple[str, str]]
    shapes: dict[str, tuple[int, ...]]
    """Of the weights that it is for."""

    def under(self, names: dict[str, str]) -> Adapter:
        """The same for weights that are called otherwise."""
        pairs = {names[name]: pair for name, pair in self.pairs.items()}
        return replace(self, pairs=pairs, shapes={names[n]: s for n, s in self.shapes.items()})

    def deltas(self) -> Iterator[tuple[str, Tensor]]:
        """What is added to each weight, one after the other, in 32 bits."""
        from safetensors import safe_open

        with safe_open(str(self.file), framework="pt") as opened:
            for name, (down, up) in self.pairs.items():
                a, b = opened.get_tensor(down).float(), opened.get_tensor(up).float()
                yield name, self.scale * (b @ a)


def read_adapter(folder: Path) -> Adapter | None:
    """The adapter in `folder`, or None if there is none.

    Raises ModelError for half of one, and for one of another kind of arithmetic.
    """
    config_path, path = folder / CONFIG, folder / WEIGHTS
    if not config_path.is_file() and not path.is_file():
        return None
    for part in (config_path, path):
        if not part.is_file():
            raise ModelError(
                f"{folder} holds half an adapter: there is no {part.name}.",
                cure=f"Download {part.name} of the checkpoint, too.",
            )
    config = read_json(config_path)
    for name, known in _PLAIN.items():
        if config.get(name, known[-1]) not in known:
            raise _strange(folder, f"{name} = {config[name]!r}")
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not isinstance(rank, int) or rank < 1 or not isinstance(alpha, int | float):
        raise _strange(folder, f"r = {rank!r} and lora_alpha = {alpha!r}")
    scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    return _paired(path, scale, rank, read_header(path))


def _paired(path: Path, scale: float, rank: int, stored: dict[str, Stored]) -> Adapter:
    pairs: dict[str, tuple[str, str]] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for down in [name for name in stored if name.endswith(_DOWN)]:
        target = down.removesuffix(_DOWN)
        up = target + _UP
        if up in stored:
            first, last = stored[down].shape, stored[up].shape
            if len(first) != 2 or len(last) != 2 or first[0] != rank or last[1] != rank:
                what = f"{down} in the shape {list(first)} for a rank of {rank}"
                raise _strange(path.parent, what)
            name = target.removeprefix(_BEFORE) + ".weight"
            pairs[name], shapes[name] = (down, up), (last[0], first[1])
    if others := sorted(stored.keys() - {part for pair in pairs.values() for part in pair}):
        raise _strange(path.parent, f"a tensor {others[0]}")
    if not pairs:
        raise _strange(path.parent, "no matrices")
    return Adapter(path, scale, pairs, shapes)


def _strange(folder: Path, what: str) -> ModelError:
    return ModelError(
        f"The adapter in {folder} has {what}, which cannot be merged exactly.",
        cure="Take the checkpoint as its makers publish it.",
    )
