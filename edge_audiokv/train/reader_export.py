"""The reader's two ONNX graphs, without weights: each large initialiser says what fills it.

Its name and its place outside the graph are `VARIABLE|KIND` (`edge_audiokv.encoder.filling`): a
matrix as int8 with one scale an output, turned the way that MatMul wants it, anything else float32.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edge_audiokv.encoder.filling import FLOAT, INT8, SCALE, fill, int8
from edge_audiokv.encoder.variables import Variables
from edge_audiokv.train.reader import (
    HEADS,
    LAYERS,
    WIDTH,
    load_reader,
    variable_of,
    written_texts,
)
from edge_audiokv.train.whisper import tiny_en_folder

AUDIO_NAME, TEXT_NAME = "reader-audio.onnx", "reader-text.onnx"
_LAYER_PARTS = [f"{part}_{i}" for i in range(LAYERS) for part in ("keys", "values")]
MEMORY, PAST, PRESENT = (
    [f"{of}_{part}" for part in _LAYER_PARTS] for of in ("memory", "past", "present")
)
STEP = ["tokens", "beliefs", "looks"]


def export_reader(folder: Path) -> list[Path]:
    """Write both graphs of Whisper tiny.en into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    audio, text = load_reader()
    _export(
        audio,
        folder / AUDIO_NAME,
        {"audio": torch.randn(1, 32_000) * 0.1},
        MEMORY,
        {"audio": {1: "samples"}, **{name: {1: "frames"} for name in MEMORY}},
        {},
        int8=False,
    )
    kept = {name: torch.zeros(HEADS, 3, WIDTH // HEADS) for name in PAST}
    kept |= {name: torch.zeros(HEADS, 100, WIDTH // HEADS) for name in MEMORY}
    _export(
        text,
        folder / TEXT_NAME,
        {"embedded": torch.randn(1, 1, WIDTH), **kept},
        STEP + PRESENT,
        {
            **{name: {1: "n"} for name in PAST},
            **{name: {1: "n_and_this"} for name in PRESENT},
            **{name: {1: "frames"} for name in [*MEMORY, "looks"]},
        },
        {"words": "\n".join(written_texts())},
        int8=True,
    )
    return [folder / AUDIO_NAME, folder / TEXT_NAME]


def _export(
    module: nn.Module,
    target: Path,
    inputs: dict[str, Tensor],
    outputs: list[str],
    axes: dict[str, dict[int, str]],
    facts: dict[str, str],
    *,
    int8: bool,
) -> None:
    import onnx

    part = target.with_suffix(".part.onnx")
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            tuple(inputs.values()),
            str(part),
            input_names=list(inputs),
            output_names=outputs,
            dynamic_axes=axes,
            opset_version=17,
            do_constant_folding=False,
            dynamo=False,
        )
    model = onnx.load(str(part))
    part.unlink()
    _hollow(model, {name for name, _ in module.named_parameters()}, int8=int8)
    onnx.helper.set_model_props(model, facts)
    onnx.save(model, str(part))
    part.replace(target)


def _hollow(model: Any, parameters: set[str], *, int8: bool) -> None:
    """Take the parameters out of a graph. With `int8` its matrices are that.

    One row at a time is bound by memory, for which int8 is made; hundreds of rows are not, and
    float32 is three times as fast for them.
    """
    from onnx import TensorProto, helper, numpy_helper

    stored = {t.name: t for t in model.graph.initializer}
    kept, nodes = {}, []

    def outside(place: str, kind: int, dims: list[int]) -> str:
        tensor = TensorProto(name=place, data_type=kind, data_location=TensorProto.EXTERNAL)
        tensor.dims.extend(dims)
        tensor.external_data.add(key="location", value=place)
        kept[place] = tensor
        return place

    for node in model.graph.node:
        for at, name in enumerate(node.input):
            if name not in parameters:
                continue
            variable, dims = variable_of(name), list(stored[name].dims)
            if int8 and node.op_type == "Transpose" and len(dims) == 2:
                rows = outside(f"{variable}|{INT8}", TensorProto.INT8, dims[::-1])
                scale = outside(f"{variable}|{SCALE}", TensorProto.FLOAT, dims[:1])
                node.CopyFrom(
                    helper.make_node("DequantizeLinear", [rows, scale], list(node.output), axis=1)
                )
                break
            node.input[at] = outside(f"{variable}|{FLOAT}", TensorProto.FLOAT, dims)
        nodes.append(node)
    for name, tensor in stored.items():
        if name not in parameters:
            values = numpy_helper.to_array(tensor)
            if values.dtype == np.float32 and values.size >= 4096:
                # The DFT, the mel bank and what must not be written: small is good enough.
                kept[name] = numpy_helper.from_array(values.astype(np.float16), f"{name}_f16")
                nodes.insert(0, helper.make_node("Cast", [f"{name}_f16"], [name], to=1))
            else:
                kept[name] = tensor
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(kept.values())
    model.graph.node.extend(nodes)


def parity(folder: Path, seconds: float = 3.0, n_tokens: int = 6) -> float:
    """Largest difference of what the graphs and PyTorch give, on noise.

    PyTorch computes with the weights as the runtime rounds them.
    """
    import onnxruntime as ort

    audio, text = load_reader()
    variables = Variables(tiny_en_folder() / "model.bin")
    with torch.no_grad():
        for name, parameter in text.named_parameters():
            if parameter.ndim == 2:
                rows, scale = int8(variables[str(variable_of(name))])
                parameter.copy_(torch.from_numpy(rows.T * scale[:, None]))
    hear, write = (_session(ort, folder / name, variables) for name in (AUDIO_NAME, TEXT_NAME))
    rng = np.random.default_rng(0)
    samples = (rng.standard_normal((1, int(seconds * 16_000))) * 0.1).astype(np.float32)
    with torch.no_grad():
        memory = audio(torch.from_numpy(samples))
        worst = _difference(hear.run(MEMORY, {"audio": samples}), memory)
        past = [torch.zeros(HEADS, 0, WIDTH // HEADS)] * (2 * LAYERS)
        for _ in range(n_tokens):
            embedded = torch.from_numpy(rng.standard_normal((1, 1, WIDTH)).astype(np.float32))
            embedded *= 0.05
            names = ["embedded", *PAST, *MEMORY]
            inputs = {n: v.numpy() for n, v in zip(names, [embedded, *past, *memory], strict=True)}
            _, *said = text(embedded, *past, *memory)
            worst = max(worst, _difference(write.run([*STEP[1:], *PRESENT], inputs), said))
            past = said[2:]
    return worst


def _difference(ours: list[Any], theirs: Sequence[Tensor]) -> float:
    pairs = zip(ours, theirs, strict=True)
    return max(float(np.abs(one - other.numpy()).max()) for one, other in pairs)


def _session(ort: Any, graph: Path, variables: Variables) -> Any:
    from edge_audiokv.encoder.outside import outside_places

    options = ort.SessionOptions()
    # By default onnxruntime multiplies in int8; what is checked here is the graph.
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "0")
    places = outside_places(graph)
    weights = fill(variables, places)
    values = [ort.OrtValue.ortvalue_from_numpy(value) for value in weights.values()]
    options.add_external_initializers(list(weights), values)
    return ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
