"""The mean of checkpoints, weight by weight.

Runs that branched from one ancestor lie in one valley; the mean of their ends errs less on unseen
speakers than each (Wortsman et al. 2022, "Model soups", arXiv:2203.05482).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from edge_audiokv.errors import InputError
from edge_audiokv.train import state

PARTS = ("audio", "lora")


def average(checkpoints: Sequence[Path]) -> dict[str, Any]:
    """The mean of checkpoints of stage two, without optimizers.

    Raises InputError if they differ in vocabulary, rank or shapes.
    """
    loaded = [state.load(path) for path in checkpoints]
    first = loaded[0]
    for path, other in zip(checkpoints, loaded, strict=True):
        if any(part not in other for part in PARTS):
            raise InputError(
                f"{path} has no adapter.", cure="Average checkpoints of the LLM stage."
            )
        if shapes(other) != shapes(first):
            raise InputError(
                f"{path} and {checkpoints[0]} are different models.",
                cure="Average runs that began from the same checkpoint.",
            )
    mean = {
        part: {name: _mean([other[part][name] for other in loaded]) for name in first[part]}
        for part in PARTS
    }
    return {**mean, "tokens": first["tokens"], "lora_rank": first["lora_rank"]}


def shapes(saved: dict[str, Any]) -> Any:
    """What two checkpoints must share to be averaged."""
    sizes = {part: {name: t.shape for name, t in saved[part].items()} for part in PARTS}
    return saved["tokens"], saved["lora_rank"], sizes


def _mean(values: list[Tensor]) -> Tensor:
    total = sum((value.double() for value in values[1:]), values[0].double())
    return (total / len(values)).to(values[0].dtype)
