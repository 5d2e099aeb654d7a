"""A checkpoint as the runtime wants it: one ONNX graph for the sound, one GGUF for the LoRA."""

from __future__ import annotations

import hashlib
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from edge_audiokv.errors import InputError
from edge_audiokv.train import state
from edge_audiokv.train.corpus import MAX_SAMPLES, SAMPLES_PER_TOKEN
from edge_audiokv.train.frame_decoder import FrameDecoder
from edge_audiokv.train.llama import MATRICES, to_interleaved
from edge_audiokv.train.projector import AudioModel, Projector, Words
from edge_audiokv.train.spelling import Spelling
from edge_audiokv.train.whisper import WhisperEncoder
from edge_audiokv.train.word_blocks import split_words

# Initialisers with fewer values stay float32; they weigh nothing and include the DFT's scales.
HALF_FROM = 4096
# Matrices of these parts are stored as int8 with one scale a row.
INT8_PARTS = (
    "audio.encoder.",
    "audio.decoder.",
    "audio.projector.",
    "audio.words.",
    "audio.bridge.",
)
Q_HEADS, KV_HEADS = 9, 3
OUTPUTS = ("embeds", "words", "beliefs")

Array = npt.NDArray[np.float32]


class Graph(nn.Module):
    """Samples [1, N] -> embeddings [1, T, 576], words int32 and beliefs [1, T, K]; T = N/1280."""

    def __init__(self, audio: AudioModel) -> None:
        super().__init__()
        self.audio = audio

    def forward(self, samples: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        heard = self.audio.hear(self.audio.encode(self.audio.mel(samples)))
        return heard.embeddings, heard.words.int(), heard.beliefs


def load_graph(saved: dict[str, Any]) -> Graph:
    """The audio side of a checkpoint, ready to be traced or compared with."""
    audio = AudioModel(WhisperEncoder(), FrameDecoder(), Projector(), Words(len(saved["tokens"])))
    audio.load_state_dict(saved["audio"])
    return Graph(audio).float().eval()


def int8_rows(values: Array) -> tuple[npt.NDArray[np.int8], Array]:
    """(int8 [out, ..], scales [out, 1, ..]) whose product is nearest to `values`, row by row."""
    others = tuple(range(1, values.ndim))
    scale = np.maximum(np.abs(values).max(others, keepdims=True), 1e-12).astype(np.float32) / 127
    return np.round(values / scale).astype(np.int8), scale


def is_int8(name: str, values: npt.NDArray[np.generic]) -> bool:
    return name.startswith(INT8_PARTS) and values.ndim >= 2 and values.size >= HALF_FROM


def as_stored(name: str, values: Array) -> Array:
    """Values after the rounding that storing costs."""
    if is_int8(name, values):
        rows, scale = int8_rows(values)
        return rows * scale
    return values.astype(np.float16).astype(np.float32) if values.size >= HALF_FROM else values


def export_onnx(saved: dict[str, Any], target: Path) -> None:
    """Write the graph with small weights (cast back when loaded; arithmetic stays float32)."""
    import onnx

    part = target.with_suffix(".part.onnx")
    part.parent.mkdir(parents=True, exist_ok=True)
    with torch.no_grad(), warnings.catch_warnings():
        # The tracer is the older of torch's two exporters, and the one that needs no more packages.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            load_graph(saved),
            (torch.randn(1, 100 * SAMPLES_PER_TOKEN) * 0.1,),
            str(part),
            input_names=["audio"],
            output_names=list(OUTPUTS),
            dynamic_axes={"audio": {1: "samples"}, **{name: {1: "tokens"} for name in OUTPUTS}},
            opset_version=17,
            # Keeps every weight under its own name; the runtime folds transposes when it loads.
            do_constant_folding=False,
            dynamo=False,
        )
    model = onnx.load(str(part))
    part.unlink()
    _shrink(model)
    split_words(model)
    words = Spelling(saved["tokens"]).written
    onnx.helper.set_model_props(model, {"words": "\n".join(word.lower() for word in words)})
    onnx.checker.check_model(model)
    onnx.save(model, str(part))
    part.replace(target)


def _shrink(model: Any) -> None:
    """Store large float32 initialisers small.

    int8 matrices stay int8 in memory, too: onnxruntime does not fold DequantizeLinear. They are
    turned here, once, the way that MatMul wants them. The rest is float16, cast back when loaded.
    """
    from onnx import helper, numpy_helper

    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    int8 = {name for name, values in stored.items() if is_int8(name, values)}
    kept, nodes = [], []

    def dequantize(name: str, out: str, turned: bool) -> Any:
        rows, scale = int8_rows(stored[name])
        values = np.ascontiguousarray(rows.T) if turned else rows
        kept.append(numpy_helper.from_array(values, f"{out}_i8"))
        kept.append(numpy_helper.from_array(scale.reshape(-1), f"{out}_scale"))
        inputs = [f"{out}_i8", f"{out}_scale"]
        return helper.make_node("DequantizeLinear", inputs, [out], axis=int(turned))

    for node in model.graph.node:
        name = node.input[0] if node.input else ""
        if name in int8 and node.op_type == "Transpose":
            nodes.append(dequantize(name, node.output[0], True))
        elif name in int8 and node.op_type == "Gather":
            rows, scale = int8_rows(stored[name])
            kept.append(numpy_helper.from_array(rows, f"{name}_i8"))
            kept.append(numpy_helper.from_array(scale, f"{name}_scale"))
            nodes += _int8_lookup(node)
        else:
            nodes.append(node)
    used = {name for node in nodes for name in node.input}
    casts = [dequantize(name, name, False) for name in sorted(int8 & used)]
    for name, values in stored.items():
        if name in int8:
            continue
        if values.dtype == np.float32 and values.size >= HALF_FROM and values.shape[-1] != 400:
            kept.append(numpy_helper.from_array(values.astype(np.float16), f"{name}_f16"))
            casts.append(helper.make_node("Cast", [f"{name}_f16"], [name], to=1))
        elif name in used:
            kept.append(numpy_helper.from_array(values, name))
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend([*casts, *nodes])


def _int8_lookup(gather: Any) -> list[Any]:
    """Look rows up as int8 and cast only those: cast whole, a table would be folded to float32."""
    from onnx import helper

    (table, rows), (out,) = gather.input, gather.output
    return [
        helper.make_node("Gather", [f"{table}_i8", rows], [f"{out}_i8"], axis=0),
        helper.make_node("Gather", [f"{table}_scale", rows], [f"{out}_scale"], axis=0),
        helper.make_node("Cast", [f"{out}_i8"], [f"{out}_f32"], to=1),
        helper.make_node("Mul", [f"{out}_f32", f"{out}_scale"], [out]),
    ]


def export_lora(saved: dict[str, Any], target: Path) -> None:
    """Write the adapter for llama.cpp: A in q8_0, B in f16, q and k rows interleaved again."""
    import gguf

    if "lora" not in saved:
        raise InputError("The checkpoint has no LoRA.", cure="Export one of the LLM stage.")
    lora, rank = saved["lora"], int(saved["lora_rank"])
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    writer = gguf.GGUFWriter(str(part), "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 2.0 * rank)
    writer.add_string("general.name", "smollm2-audio adapter")
    layers = 1 + max(int(k.split(".")[1]) for k in lora)
    q8 = gguf.GGMLQuantizationType.Q8_0
    for i in range(layers):
        for ours, theirs in MATRICES.items():
            a = lora[f"layers.{i}.{ours}.a"].float().numpy()
            b = lora[f"layers.{i}.{ours}.b"].float().numpy()
            if ours in ("q", "k"):
                b = to_interleaved(b, Q_HEADS if ours == "q" else KV_HEADS)
            name = f"blk.{i}.{theirs}.weight"
            writer.add_tensor(f"{name}.lora_a", gguf.quants.quantize(a, q8), raw_dtype=q8)
            writer.add_tensor(f"{name}.lora_b", np.ascontiguousarray(b).astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    part.replace(target)


def export(checkpoint: Path, folder: Path) -> dict[str, tuple[int, str]]:
    """Both files into `folder`; returns name -> (bytes, sha256) for the catalog entry."""
    saved = state.load(checkpoint)
    export_onnx(saved, folder / "encoder.onnx")
    export_lora(saved, folder / "lora.gguf")
    return {f.name: describe(f) for f in (folder / "encoder.onnx", folder / "lora.gguf")}


def describe(path: Path) -> tuple[int, str]:
    data = path.read_bytes()
    return len(data), hashlib.sha256(data).hexdigest()


def update_entry(entry: Path, files: dict[str, tuple[int, str]]) -> None:
    """Write new sizes and hashes into a catalog entry, leaving everything else as it is."""
    blocks = entry.read_text().split("[[file]]")
    for i, block in enumerate(blocks):
        for name, (size, digest) in files.items():
            if f'name = "{name}"' in block:
                block = re.sub(r"size_bytes = \d+", f"size_bytes = {size}", block)
                block = re.sub(r'sha256 = "[0-9a-f]+"', f'sha256 = "{digest}"', block)
                blocks[i] = block
    part = entry.with_suffix(".part")
    part.write_text("[[file]]".join(blocks))
    part.replace(entry)


def parity(checkpoint: Path, graph: Path, seconds: float = 4.0) -> float:
    """Largest difference between the graph and PyTorch on noise; a wrong export shows here.

    PyTorch computes with the weights as they were stored, so that rounding does not count.
    """
    import onnxruntime as ort

    model = load_graph(state.load(checkpoint))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(torch.from_numpy(as_stored(name, weight.numpy())))
    tokens = min(MAX_SAMPLES, int(seconds * 16_000)) // SAMPLES_PER_TOKEN
    noise = np.random.default_rng(0).standard_normal((1, tokens * SAMPLES_PER_TOKEN)) * 0.1
    samples = noise.astype(np.float32)
    with torch.no_grad():
        embeddings, _, beliefs = (part.numpy() for part in model(torch.from_numpy(samples)))
    options = ort.SessionOptions()
    # By default onnxruntime multiplies in int8; what is checked here is the graph.
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "0")
    session = ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    got = session.run(["embeds", "beliefs"], {"audio": samples})
    pairs = zip(got, (embeddings, beliefs), strict=True)
    return float(max(np.abs(ours - theirs).max() for ours, theirs in pairs))
