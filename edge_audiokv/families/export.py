"""An audio tower as one ONNX graph: samples [1, S] -> rows [1, T, d_model]."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edge_audiokv.errors import InputError
from edge_audiokv.families.streamed import write
from edge_audiokv.families.unread import unread
from edge_audiokv.families.weights import weights_of

OPSET = 20
TYPES = ("f32", "fp16", "int8")
# Of what lies in the graph itself onnxruntime holds two copies while it loads; beside it, none.
OUTSIDE_FROM_BYTES = 1 << 26
DATA_SUFFIX = ".data"
_BITS = {"f32": 32, "fp16": 16, "int8": 8}
# Towers above this many weights are int8 unless told otherwise: on a CPU fp16 saves no RAM.
INT8_FROM = 300_000_000
# Longer than a chunk of every family, and no multiple of one.
_EXAMPLE_SAMPLES = 16 * 2560


def default_type(tower_count: int) -> str:
    return "int8" if tower_count > INT8_FROM else "f32"


def check_type(name: str) -> str:
    """Raises InputError for a type of encoder that there is not."""
    if name not in TYPES:
        raise InputError(f"There is no encoder type {name!r}.", cure=f"Use one of {TYPES}.")
    return name


def estimated_bytes(tower_count: int, type_name: str) -> int:
    """About how large the graph will be."""
    return tower_count * _BITS[type_name] // 8 + (2 << 20)


def write_encoder(
    tower: Callable[[], nn.Module],
    target: Path,
    type_name: str,
    *,
    outside_from_bytes: int = OUTSIDE_FROM_BYTES,
) -> tuple[Path, ...]:
    """Write the graph to `target`; the files made, `target` first, its weights beside it.

    Of what `tower` makes one weight is held at a time. int8 has a scale for each column of
    a matrix; what it multiplies is rounded as it comes. Raises OSError.
    """
    import onnx

    scratch = target.with_name("graph")
    scratch.mkdir()
    with unread():
        made = tower()
    model, tensors = _trace(made, scratch / "raw.onnx")
    for path in sorted(scratch.iterdir()):
        path.unlink()
    scratch.rmdir()
    weights = weights_of(model.graph, tensors, type_name)
    size = sum(weight.n_bytes for weight in weights)
    data = target.with_name(target.name + DATA_SUFFIX) if size >= outside_from_bytes else None
    write(model, weights, target, data)
    onnx.checker.check_model(str(target))
    return (target, data) if data is not None else (target,)


def _trace(tower: nn.Module, target: Path) -> tuple[Any, dict[str, torch.Tensor]]:
    """The graph with its weights as inputs, and the weights by their names there."""
    import onnx

    with torch.no_grad(), warnings.catch_warnings():
        # The older of torch's two exporters: it gives the same numbers, in a tenth of the time,
        # and needs no more packages. With weights in it the graph would be copied three times.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            tower.eval(),
            (torch.randn(1, _EXAMPLE_SAMPLES) * 0.1,),
            str(target),
            input_names=["audio"],
            output_names=["embeds"],
            dynamic_axes={"audio": {1: "samples"}, "embeds": {1: "tokens"}},
            opset_version=OPSET,
            dynamo=False,
            export_params=False,
            do_constant_folding=False,
        )
    return onnx.load(str(target)), dict(tower.state_dict(keep_vars=True))
