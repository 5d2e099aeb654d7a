"""A checkpoint as the runtime wants it: one ONNX graph for the sound, one GGUF for the LoRA."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edge_audiokv.errors import InputError
from edge_audiokv.train import state
from edge_audiokv.train.corpus import MAX_SAMPLES, SAMPLES_PER_TOKEN
from edge_audiokv.train.llama import MATRICES, to_interleaved
from edge_audiokv.train.projector import AudioModel, LetterHead, Projector
from edge_audiokv.train.whisper import WhisperEncoder

# Initialisers with fewer values stay float32; they weigh nothing and include the DFT's scales.
HALF_FROM = 4096
Q_HEADS, KV_HEADS = 9, 3


class Graph(nn.Module):
    """Samples [1, N] -> embeddings [1, N/1280, 576], letter log-probabilities [1, N/320, 29]."""

    def __init__(self, audio: AudioModel, letters: LetterHead) -> None:
        super().__init__()
        self.audio, self.letters = audio, letters

    def forward(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        features = self.audio.encode(self.audio.mel(samples))
        _, embeddings = self.audio.project(features)
        return embeddings, self.letters(features).log_softmax(-1)


def export_onnx(saved: dict[str, Any], target: Path, with_letters: bool = False) -> None:
    """Write the graph with float16 weights (cast back when loaded; arithmetic stays float32)."""
    import onnx
    from onnx import numpy_helper

    weights = saved["audio"]
    width = weights["projector.stack.weight"].shape[0]
    blocks = 1 + max(int(m[1]) for k in weights if (m := re.match(r"projector\.blocks\.(\d+)", k)))
    audio = AudioModel(WhisperEncoder(), Projector(width=width, blocks=blocks))
    audio.load_state_dict(weights)
    letters = LetterHead()
    letters.load_state_dict(saved["letters"])
    graph = Graph(audio, letters).float().eval()
    names = ["embeds", "letters"]
    part = target.with_suffix(".part.onnx")
    part.parent.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        torch.onnx.export(
            graph,
            (torch.randn(1, 100 * SAMPLES_PER_TOKEN) * 0.1,),
            str(part),
            input_names=["audio"],
            output_names=names,
            dynamic_axes={
                "audio": {1: "samples"},
                "embeds": {1: "tokens"},
                "letters": {1: "steps"},
            },
            opset_version=17,
            dynamo=False,
        )
    model = onnx.load(str(part))
    part.unlink()
    if not with_letters:
        _drop_output(model, "letters")
    kept, casts = [], []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size >= HALF_FROM and values.shape[-1] != 400:
            half = numpy_helper.from_array(values.astype(np.float16), tensor.name + "_f16")
            cast = onnx.helper.make_node("Cast", [half.name], [tensor.name], to=1)
            kept.append(half)
            casts.append(cast)
        else:
            kept.append(tensor)
    nodes = [*casts, *model.graph.node]
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    onnx.save(model, str(part))
    part.replace(target)


def _drop_output(model: Any, name: str) -> None:
    """Remove an output and every node and weight that only it needs."""
    kept = [o for o in model.graph.output if o.name != name]
    del model.graph.output[:]
    model.graph.output.extend(kept)
    needed = {o.name for o in kept}
    nodes = []
    for node in reversed(list(model.graph.node)):
        if needed & set(node.output):
            needed |= set(node.input)
            nodes.append(node)
    weights = [w for w in model.graph.initializer if w.name in needed]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(reversed(nodes))
    model.graph.initializer.extend(weights)


def export_lora(saved: dict[str, Any], target: Path) -> None:
    """Write the adapter for llama.cpp: A in q8_0, B in f16, q and k rows interleaved again."""
    import gguf

    if "lora" not in saved:
        raise InputError("the checkpoint has no LoRA.", cure="Export one of the LLM stage.")
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


def export(
    checkpoint: Path, folder: Path, with_letters: bool = False
) -> dict[str, tuple[int, str]]:
    """Both files into `folder`; returns name -> (bytes, sha256) for the catalog entry."""
    saved = state.load(checkpoint)
    export_onnx(saved, folder / "encoder.onnx", with_letters)
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
    """Largest difference between the graph and PyTorch on noise; a wrong export shows here."""
    import onnxruntime as ort

    saved = state.load(checkpoint)
    weights = saved["audio"]
    width = weights["projector.stack.weight"].shape[0]
    blocks = len({k.split(".")[2] for k in weights if k.startswith("projector.blocks.")})
    audio = AudioModel(WhisperEncoder(), Projector(width=width, blocks=blocks))
    audio.load_state_dict(weights)
    tokens = min(MAX_SAMPLES, int(seconds * 16_000)) // SAMPLES_PER_TOKEN
    noise = np.random.default_rng(0).standard_normal((1, tokens * SAMPLES_PER_TOKEN)) * 0.1
    samples = noise.astype(np.float32)
    with torch.no_grad():
        mel = audio.mel(torch.from_numpy(samples))
        expected = audio.project(audio.encode(mel))[1].numpy()
    session = ort.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    got = session.run(["embeds"], {"audio": samples})[0]
    return float(np.abs(got - expected).max())
