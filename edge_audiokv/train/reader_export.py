"""The reader's two ONNX graphs, without weights: each large initialiser says what fills it.

Its name and its place outside the graph are `VARIABLE|KIND` (`edge_audiokv.encoder.filling`): a
matrix as int8 with one scale an output, turned the way that MatMul wants it, anything else float32.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edge_audiokv.encoder.filling import FLOAT, INT8, SCALE, fill
from edge_audiokv.encoder.variables import Variables
from edge_audiokv.train.reader import (
    HEADS,
    LAYERS,
    WIDTH,
    ReaderAudio,
    ReaderText,
    load_reader,
    spoken_words,
    variable_of,
)
from edge_audiokv.train.whisper import tiny_en_folder

AUDIO_NAME, TEXT_NAME = "reader-audio.onnx", "reader-text.onnx"
_OUTPUTS = ("tokens", "beliefs", "looks", "present")


def export_reader(folder: Path) -> list[Path]:
    """Write both graphs of Whisper tiny.en into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    audio, text = load_reader()
    memory = torch.zeros(LAYERS, 2, HEADS, 100, WIDTH // HEADS)
    _export(
        audio,
        folder / AUDIO_NAME,
        {"audio": torch.randn(1, 32_000) * 0.1},
        ("memory",),
        {"audio": {1: "samples"}, "memory": {3: "frames"}},
        {},
    )
    _export(
        text,
        folder / TEXT_NAME,
        {"embedded": torch.randn(1, 1, WIDTH), "past": memory[:, :, :, :3], "memory": memory},
        _OUTPUTS,
        {
            "past": {3: "n"},
            "memory": {3: "frames"},
            "looks": {1: "frames"},
            "present": {3: "n_and_this"},
        },
        {"words": "\n".join(spoken_words())},
    )
    return [folder / AUDIO_NAME, folder / TEXT_NAME]


def _export(
    module: nn.Module,
    target: Path,
    inputs: dict[str, Tensor],
    outputs: tuple[str, ...],
    axes: dict[str, dict[int, str]],
    facts: dict[str, str],
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
            output_names=list(outputs),
            dynamic_axes=axes,
            opset_version=17,
            do_constant_folding=False,
            dynamo=False,
        )
    model = onnx.load(str(part))
    part.unlink()
    _hollow(model, {name for name, _ in module.named_parameters()})
    onnx.helper.set_model_props(model, facts)
    onnx.save(model, str(part))
    part.replace(target)


def _hollow(model: Any, parameters: set[str]) -> None:
    """Take the parameters out of a graph; matrices that are only multiplied with become int8."""
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
            if node.op_type == "Transpose" and len(dims) == 2:
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
    """Largest difference of memory, beliefs and attention between the graphs and PyTorch.

    PyTorch computes with the weights as the runtime rounds them.
    """
    import onnxruntime as ort

    audio, text = load_reader()
    variables = Variables(tiny_en_folder() / "model.bin")
    with torch.no_grad():
        for module in (audio, text):
            for name, parameter in module.named_parameters():
                if parameter.ndim == 2 and "positions" not in name:
                    variable = variable_of(name)
                    rows = fill(variables, f"{variable}|{INT8}").T.astype(np.float32)
                    scale = fill(variables, f"{variable}|{SCALE}")[:, None]
                    parameter.copy_(torch.from_numpy(rows * scale))
    sessions = []
    for name in (AUDIO_NAME, TEXT_NAME):
        sessions.append(_session(ort, folder / name, variables))
    rng = np.random.default_rng(0)
    samples = (rng.standard_normal((1, int(seconds * 16_000))) * 0.1).astype(np.float32)
    (memory,) = sessions[0].run(None, {"audio": samples})
    worst = 0.0
    with torch.no_grad():
        ours = audio(torch.from_numpy(samples))
        worst = max(worst, float(np.abs(ours.numpy() - memory).max()))
        past = torch.zeros(LAYERS, 2, HEADS, 0, WIDTH // HEADS)
        for _ in range(n_tokens):
            embedded = (rng.standard_normal((1, 1, WIDTH)) * 0.05).astype(np.float32)
            inputs = {"embedded": embedded, "past": past.numpy(), "memory": ours.numpy()}
            got = sessions[1].run(None, inputs)
            said = text(torch.from_numpy(embedded), past, ours)
            pairs = zip(got[1:], said[1:], strict=True)
            worst = max(worst, *(float(np.abs(a - b.numpy()).max()) for a, b in pairs))
            past = said[3]
    return worst


def _session(ort: Any, graph: Path, variables: Variables) -> Any:
    from edge_audiokv.encoder.outside import outside_places

    options = ort.SessionOptions()
    # By default onnxruntime multiplies in int8; what is checked here is the graph.
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "0")
    places = outside_places(graph)
    values = [ort.OrtValue.ortvalue_from_numpy(fill(variables, place)) for place in places]
    options.add_external_initializers(places, values)
    return ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
