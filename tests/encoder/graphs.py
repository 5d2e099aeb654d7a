"""Small ONNX encoders: real graphs, toy weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def write_graph(
    path: Path, *, width: int | str = 8, rank: int = 2, token_samples: int = 1280, inputs: int = 1
) -> Path:
    """A graph that reshapes audio to tokens and repeats their mean: real ONNX, toy weights."""
    names = ["audio", "second"][:inputs]
    shape = [1, "s"] if rank == 2 else [1, 80, "s"]
    true_width = width if isinstance(width, int) else 5
    constants = [
        helper.make_tensor("grid", TensorProto.INT64, [3], [1, -1, token_samples]),
        helper.make_tensor("spread", TensorProto.FLOAT, [1, true_width], [1.0] * true_width),
    ]
    nodes = [
        helper.make_node("Reshape", ["audio", "grid"], ["frames"]),
        helper.make_node("ReduceMean", ["frames"], ["mean"], axes=[-1], keepdims=1),
        helper.make_node("MatMul", ["mean", "spread"], ["embeds"]),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in names],
        [helper.make_tensor_value_info("embeds", TensorProto.FLOAT, [1, "t", width])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path


def write_words(
    path: Path,
    *,
    largest: int = 3,
    vocabulary: str = " a\n b\nc\n d",
    beliefs: tuple[float, float] = (0.6, 0.3),
) -> Path:
    """The toy graph that also names two words a row, 0 and `largest`, believed at 0.6 and 0.3."""
    model = onnx.load(write_graph(path))
    graph = model.graph
    for name, kind, values in (
        ("words", TensorProto.INT32, [0, largest]),
        ("beliefs", TensorProto.FLOAT, list(beliefs)),
    ):
        graph.initializer.append(helper.make_tensor(f"{name}_row", kind, [1, 1, 2], values))
        graph.node.append(helper.make_node("Expand", [f"{name}_row", "shape"], [name]))
        graph.output.append(helper.make_tensor_value_info(name, kind, [1, "t", 2]))
    graph.node.insert(2, helper.make_node("Shape", ["mean"], ["shape"]))
    if vocabulary:
        helper.set_model_props(model, {"words": vocabulary})
    onnx.save(model, path)
    return path


def write_layers(path: Path) -> Path:
    """A graph with what speech encoders are made of: convolutions, norms, attention, a loop."""
    rng = np.random.default_rng(0)

    def constant(name: str, value: object, dtype: type = np.float32) -> onnx.TensorProto:
        return numpy_helper.from_array(np.asarray(value, dtype), name)

    def node(kind: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
        return helper.make_node(kind, inputs.split(), [output], **attributes)

    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["goes_on"]),
            helper.make_node("Mul", ["state", "decay"], ["next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, None),
        ],
        [constant("decay", 0.5)],
    )
    nodes = [
        node("Unsqueeze", "audio one", "channel"),
        node("Conv", "channel filters", "wide", strides=[160], kernel_shape=[160]),
        node("Relu", "wide", "heard"),
        node("Conv", "heard second", "slow", strides=[8], kernel_shape=[8]),
        node("Transpose", "slow", "rows", perm=[0, 2, 1]),
        node("LayerNormalization", "rows scale bias", "normed", axis=-1),
        node("Transpose", "normed", "turned", perm=[0, 2, 1]),
        node("MatMul", "normed turned", "raw"),
        node("Div", "raw root", "scores"),
        node("Softmax", "scores", "seen", axis=-1),
        node("MatMul", "seen normed", "mixed"),
        node("Shape", "mixed", "shape"),
        node("Div", "shape two", "halves"),
        node("Gather", "halves zero", "picked", axis=0),
        node("Slice", "mixed starts ends axes", "sliced"),
        node("Concat", "sliced sliced", "doubled", axis=2),
        helper.make_node("Loop", ["rounds", "", "doubled"], ["looped"], body=body),
        node("MatMul", "looped out", "embeds"),
    ]
    constants = [
        constant("one", [1], np.int64),
        constant("two", [2], np.int64),
        constant("zero", [0], np.int64),
        constant("starts", [0], np.int64),
        constant("ends", [4], np.int64),
        constant("axes", [2], np.int64),
        constant("rounds", 2, np.int64),
        constant("root", np.sqrt(8)),
        constant("scale", np.ones(8)),
        constant("bias", np.zeros(8)),
        constant("filters", rng.normal(0, 0.1, (4, 1, 160))),
        constant("second", rng.normal(0, 0.1, (8, 4, 8))),
        constant("out", rng.normal(0, 0.1, (8, 8))),
    ]
    graph = helper.make_graph(
        nodes,
        "layers",
        [helper.make_tensor_value_info("audio", TensorProto.FLOAT, [1, "s"])],
        [helper.make_tensor_value_info("embeds", TensorProto.FLOAT, [1, "t", 8])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path
