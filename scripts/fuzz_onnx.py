"""Damage ONNX encoders in every way and use them as a person would: nothing may end the process.

    python scripts/fuzz_onnx.py --cases 500 --seed 0 --jobs 2

Each case changes shapes, types, names, operators, attributes, metadata, paths of outside data or
bytes of a small graph and takes the whole way: a child that tries the file, and, if that came
through, the encoder's own loader and some sound. What the child dies of is no fault: it is there
for that. A signal afterwards is, and so is any exception that is not one of ours, and a graph that
read a file outside its folder. `--seed S --cases 1` runs that case alone.
"""

from __future__ import annotations

import os
import random
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

# Behind what is installed: only that has the native library.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from scripts.fuzzing import in_child, options, run

D_MODEL = 8
NUMBERS = (0, 1, -1, 2, 3, 7, 80, 1280, 2**16, 2**31 - 1, -(2**31), 2**31, 2**40, 2**62, 2**63 - 1)
PLACES = (
    *("weights.bin", "../secret.bin", "../../../../../../etc/passwd", "/etc/passwd", "./x/../.."),
    *("link.bin", "C:\\x", "", "a\0b", "folder", "/dev/zero", "no-such-file", "x" * 5000),
)
OPERATORS = (
    *(
        "Div",
        "Mod",
        "Gather",
        "Slice",
        "Conv",
        "Pad",
        "Tile",
        "Expand",
        "Split",
        "Concat",
        "Resize",
    ),
    *("MaxPool", "Softmax", "LSTM", "Loop", "If", "Einsum", "TopK", "Range", "OneHot", "CumSum"),
    *("Unsqueeze", "Squeeze", "Transpose", "ReduceMean", "MatMul", "Reshape", "STFT", "NotThere"),
    *("MatMulInteger", "QuantizeLinear", "DequantizeLinear", "ConvTranspose", "ScatterND", "Gemm"),
)


def main() -> None:
    given = options(__doc__ or "", cases=500, timeout_s=150)
    with tempfile.TemporaryDirectory() as folder:
        run(given, lambda seeds: use_all(Path(folder), seeds))


def graphs(folder: Path) -> list[bytes]:
    """Whole, working encoders: with words and without, and one of a speech encoder's operators."""
    from tests.encoder import graphs as write

    return [
        path.read_bytes()
        for path in (
            write.write_graph(folder / "plain.onnx"),
            write.write_words(folder / "words.onnx"),
            write.write_layers(folder / "layers.onnx"),
        )
    ]


def damaged(draw: random.Random, data: bytes) -> bytes:
    """A graph with one to three changes, or a file with some other bytes."""
    if draw.random() < 0.25:
        changed = bytearray(data)
        for _ in range(draw.choice((1, 1, 2, 8))):
            at = draw.randrange(len(changed))
            match draw.randrange(5):
                case 4:
                    # Names and metadata: a byte that no UTF-8 text has.
                    found = list(re.finditer(rb"[a-z_]{4,}|\n [a-z]", bytes(changed)))
                    if found:
                        changed[draw.choice(found).start()] = 0xFF
                case 0:
                    changed[at] ^= 1 << draw.randrange(8)
                case 1:
                    changed[at : at + 1] = draw.randbytes(draw.choice((0, 1, 4)))
                case 2:
                    del changed[at : at + draw.choice((1, 8, 100))]
                case _:
                    del changed[draw.randrange(len(changed)) :]
            changed = changed or bytearray(b"O")
        return bytes(changed)
    model = onnx.load_from_string(data)
    for _ in range(draw.choice((1, 1, 2, 3))):
        draw.choice(CHANGES)(draw, model)
    return bytes(model.SerializeToString())


def _number(draw: random.Random, model: Any) -> None:
    """A constant of the graph: a shape, an axis, a divisor."""
    whole = [tensor for tensor in model.graph.initializer if tensor.data_type == TensorProto.INT64]
    if not whole:
        return
    tensor = draw.choice(whole)
    raw = tensor.raw_data
    values = list(tensor.int64_data) or [
        int.from_bytes(raw[at : at + 8], "little", signed=True) for at in range(0, len(raw), 8)
    ]
    if values:
        values[draw.randrange(len(values))] = draw.choice(NUMBERS)
        tensor.ClearField("raw_data")
        del tensor.int64_data[:]
        tensor.int64_data.extend(max(-(2**63), min(2**63 - 1, value)) for value in values)


def _dims(draw: random.Random, model: Any) -> None:
    """A shape that is stated and does not hold."""
    tensor = draw.choice(model.graph.initializer)
    if tensor.dims and draw.random() < 0.7:
        tensor.dims[draw.randrange(len(tensor.dims))] = draw.choice(NUMBERS)
    else:
        tensor.dims.extend([draw.choice(NUMBERS)] * draw.choice((1, 1, 50)))


def _interface(draw: random.Random, model: Any) -> None:
    """Name, type or shape of an input or output."""
    value = draw.choice([*model.graph.input, *model.graph.output])
    match draw.randrange(4):
        case 0:
            value.name = draw.choice(("", "audio", "words", "x\n", "\x1b[31m"))
        case 1:
            value.type.tensor_type.elem_type = draw.randrange(25)
        case 2:
            dims = value.type.tensor_type.shape.dim
            if dims:
                dims[draw.randrange(len(dims))].dim_value = draw.choice(NUMBERS)
        case _:
            del value.type.tensor_type.shape.dim[:]


def _operator(draw: random.Random, model: Any) -> None:
    """Another operator, or the same from another domain."""
    node = draw.choice(model.graph.node)
    node.op_type = draw.choice(OPERATORS)
    if draw.random() < 0.1:
        node.domain = draw.choice(("com.microsoft", "ai.onnx.ml", "nobody"))


def _wiring(draw: random.Random, model: Any) -> None:
    """Inputs of nodes that come from elsewhere, circles among them."""
    names = [name for node in model.graph.node for name in (*node.input, *node.output)]
    node = draw.choice(model.graph.node)
    if node.input:
        node.input[draw.randrange(len(node.input))] = draw.choice((*names, ""))
    if draw.random() < 0.2:
        node.input.append(draw.choice(names))


def _attribute(draw: random.Random, model: Any) -> None:
    node = draw.choice(model.graph.node)
    name = draw.choice(
        ("axis", "axes", "keepdims", "pads", "strides", "kernel_shape", "group", "to")
    )
    old = [attribute for attribute in node.attribute]
    if old and draw.random() < 0.7:
        name = draw.choice(old).name
    kept = [attribute for attribute in old if attribute.name != name]
    value: Any = draw.choice(NUMBERS)
    if draw.random() < 0.4:
        value = [draw.choice(NUMBERS) for _ in range(draw.choice((1, 2, 9)))]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])


def _metadata(draw: random.Random, model: Any) -> None:
    del model.metadata_props[:]
    text = draw.choice((" a", "", "\n" * 1000, " a\n" * 100_000, "\x00", "\u202e"))
    helper.set_model_props(model, {"words": text, draw.choice(("x", "ort_config")): text})


def _outside(draw: random.Random, model: Any) -> None:
    """A tensor whose numbers lie in another file."""
    tensor = draw.choice(model.graph.initializer)
    tensor.data_location = TensorProto.EXTERNAL
    for field in ("raw_data", "float_data", "int64_data", "int32_data"):
        tensor.ClearField(field)
    del tensor.external_data[:]
    facts = {"location": draw.choice(PLACES)}
    if draw.random() < 0.5:
        facts["offset"] = str(draw.choice((0, -1, 4, 10**30, "x")))
    if draw.random() < 0.5:
        facts["length"] = str(draw.choice((0, -1, 32, 10**30, "x")))
    for key, value in facts.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value


def _versions(draw: random.Random, model: Any) -> None:
    if draw.random() < 0.5:
        model.ir_version = draw.choice((0, 1, 9, 99, 2**62))
    else:
        model.opset_import[0].version = draw.choice((0, 1, 7, 13, 17, 23, 999, 2**62))


CHANGES: tuple[Callable[[random.Random, Any], None], ...] = (
    *(_number, _number, _dims, _interface, _operator, _operator, _wiring, _wiring),
    *(_attribute, _attribute, _metadata, _outside, _outside, _versions),
)


def use_all(folder: Path, seeds: range) -> Iterator[int]:
    """Go through the cases of `seeds`; yields each seed before its case."""
    import onnxruntime  # noqa: F401  once, before all forks

    from edge_audiokv.encoder import onnx as _onnx  # noqa: F401

    home = folder / str(os.getpid()) / "model"
    home.mkdir(parents=True)
    (home / "folder").mkdir()
    secret = home.parent / "secret.bin"
    secret.write_bytes(bytes(4096))
    (home / "weights.bin").write_bytes(bytes(4096))
    (home / "link.bin").symlink_to(secret)
    whole = graphs(home)
    path = home / "case.onnx"
    for seed in seeds:
        yield seed
        draw = random.Random(seed)
        path.write_bytes(damaged(draw, draw.choice(whole)))
        use(path)


def use(path: Path) -> None:
    """The child that tries, and then what a session does. AssertionError is a fault."""
    from edge_audiokv.encoder import probe

    code = in_child(lambda: probe.try_out(path), within_s=10)
    assert code != 2, f"{path}: what refuses it is no error of ours"
    if code != 0:
        return  # refused, or the child died of it
    code = in_child(lambda: _session(path), within_s=10)
    assert code in (0, 1), f"{path}: a session ends with {code}"


def _session(path: Path) -> None:
    import numpy as np

    from edge_audiokv.encoder.onnx import OnnxEncoder

    with OnnxEncoder(path, d_model=D_MODEL, max_window_s=2) as encoder:
        noise = np.random.default_rng(0).normal(0, 0.3, 5 * 16000).astype(np.float32)
        for audio in (noise, 0 * noise, noise[:1], -noise[:20_000]):
            encoder.hear(audio)


if __name__ == "__main__":
    main()
