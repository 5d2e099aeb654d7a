"""An audio tower as one ONNX graph: samples [1, S] -> rows [1, T, d_model]."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from edge_audiokv.errors import InputError

OPSET = 20
TYPES = ("f32", "fp16", "int8")
# protobuf holds at most 2 GiB; weights of larger graphs lie in a file beside.
OUTSIDE_FROM_BYTES = 1 << 30
DATA_SUFFIX = ".data"
_BITS = {"f32": 32, "fp16": 16, "int8": 8}
# What has fewer numbers stays float32: it weighs nothing.
_SMALL = 4096
# Towers above this many weights are int8 unless told otherwise: on a CPU fp16 saves no RAM.
INT8_FROM = 300_000_000
# Longer than a chunk of every family, and no multiple of one.
_EXAMPLE_SAMPLES = 16 * 2560


def default_type(tower_count: int) -> str:
    return "int8" if tower_count > INT8_FROM else "f32"


def check_type(name: str) -> str:
    """Raises InputError for a type of encoder that there is not."""
    if name not in TYPES:
        raise InputError(f"there is no encoder type {name!r}.", cure=f"Use one of {TYPES}.")
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

    What `tower` makes is held only as long as it is traced: quantising needs the memory. int8 has a
    scale for each column of a matrix; what it multiplies is rounded as it comes. Raises OSError.
    """
    import onnx

    scratch = target.with_name("graph")
    scratch.mkdir()
    raw = scratch / "raw.onnx"
    _trace(tower(), raw)
    made = raw
    if type_name == "int8":
        made = scratch / "int8.onnx"
        _quantise(raw, made, outside_from_bytes)
    model = onnx.load(str(made))
    if type_name == "fp16":
        _halve(model)
    size = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    outside = size >= outside_from_bytes
    onnx.save_model(
        model,
        str(target),
        save_as_external_data=outside,
        all_tensors_to_one_file=True,
        location=target.name + DATA_SUFFIX,
    )
    del model
    onnx.checker.check_model(str(target))
    for path in sorted(scratch.iterdir()):
        path.unlink()
    scratch.rmdir()
    data = target.with_name(target.name + DATA_SUFFIX)
    return (target, data) if outside else (target,)


def _trace(tower: nn.Module, target: Path) -> None:
    with torch.no_grad(), warnings.catch_warnings():
        # The older of torch's two exporters: it gives the same numbers, in a tenth of the time,
        # and needs no more packages.
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
        )


def _quantise(source: Path, target: Path, outside_from_bytes: int) -> None:
    import logging

    from onnxruntime.quantization import QuantType, quantize_dynamic

    # It recommends a step of preparation that these graphs do not need.
    logging.getLogger().addFilter(_no_advice)
    try:
        quantize_dynamic(
            str(source),
            str(target),
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            use_external_data_format=source.stat().st_size >= outside_from_bytes,
        )
    finally:
        logging.getLogger().removeFilter(_no_advice)


def _no_advice(record: Any) -> bool:
    return "pre-processing" not in record.getMessage()


def _halve(model: Any) -> None:
    """Store large float32 weights as float16, cast back when the graph is loaded."""
    from onnx import TensorProto, helper, numpy_helper

    kept, casts = [], []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or values.size < _SMALL:
            kept.append(tensor)
            continue
        kept.append(numpy_helper.from_array(values.astype(np.float16), f"{tensor.name}_f16"))
        casts.append(
            helper.make_node("Cast", [f"{tensor.name}_f16"], [tensor.name], to=TensorProto.FLOAT)
        )
    nodes = [*casts, *model.graph.node]
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend(nodes)
