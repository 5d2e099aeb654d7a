"""The weights of a traced graph, in the type that they are kept in: one is made at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from edge_audiokv.families.unread import value

AnyArray = npt.NDArray[Any]
Tensors = dict[str, torch.Tensor]
# What has fewer numbers stays float32: it weighs nothing.
_SMALL = 4096
# Constants of more bytes are worth being kept once.
_LARGE_BYTES = 4096
# Seven bits of a matrix: CPUs without VNNI add two products in 16 bits, and cut off what does not
# fit; rows of 8 bits and matrices of 8 came out a whole deviation wrong there.
_INT8_MOST = 64


@dataclass(frozen=True)
class Weight:
    """Its name in the graph, its size, and what makes its values; they are made once."""

    name: str
    n_bytes: int
    make: Callable[[], AnyArray]


def weights_of(graph: Any, tensors: Tensors, type_name: str) -> list[Weight]:
    """Every weight of `graph`, which is changed to take them as `type_name`: f32, fp16 or int8.

    `tensors` are what the graph has as inputs; each leaves the dictionary when it is made.
    """
    _share_constants(graph)
    _take_alike(graph, tensors)
    turned = _turn(graph, tensors)
    inputs = [value for value in graph.input if value.name not in tensors]
    del graph.input[:]
    graph.input.extend(inputs)
    if type_name == "int8":
        return _quantised(graph, tensors, turned)
    halved = type_name == "fp16"
    return [
        _halved(graph, name, tensors, turned)
        if halved and _is_large(tensors[name])
        else _plain(name, tensors, turned)
        for name in list(tensors)
    ]


def _is_large(tensor: torch.Tensor) -> bool:
    return tensor.dtype == torch.float32 and tensor.numel() >= _SMALL


def _values(name: str, tensors: Tensors, turned: set[str]) -> AnyArray:
    tensor = value(tensors.pop(name))
    values: AnyArray = (tensor.t() if name in turned else tensor).numpy()
    return values


def _plain(name: str, tensors: Tensors, turned: set[str]) -> Weight:
    return Weight(name, tensors[name].nbytes, partial(_values, name, tensors, turned))


def _halved(graph: Any, name: str, tensors: Tensors, turned: set[str]) -> Weight:
    """Stored as float16, and cast back when the graph is loaded."""
    from onnx import TensorProto, helper

    half = f"{name}_f16"
    graph.node.insert(0, helper.make_node("Cast", [half], [name], to=TensorProto.FLOAT))
    return Weight(
        half, tensors[name].nbytes // 2, lambda: _values(name, tensors, turned).astype(np.float16)
    )


def _quantised(graph: Any, tensors: Tensors, turned: set[str]) -> list[Weight]:
    """Matrices as int8 with a scale for each column, where the graph multiplies by them."""
    users = defaultdict(list)
    for node in graph.node:
        for at, name in enumerate(node.input):
            users[name].append((node, at))
    matrices = {
        name
        for name, tensor in tensors.items()
        if tensor.dtype == torch.float32
        and tensor.ndim == 2
        and all(node.op_type == "MatMul" and at == 1 for node, at in users[name])
    }
    nodes: list[Any] = []
    rounded: set[str] = set()
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in matrices:
            nodes += _product(node.input[0], node.input[1], node.output[0], rounded)
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    made: list[Weight] = []
    for name in list(tensors):
        if name in matrices:
            made += _rounded(name, tensors, turned)
        else:
            made.append(_plain(name, tensors, turned))
    return made


def _product(rows: str, matrix: str, output: str, rounded: set[str]) -> Sequence[Any]:
    """Nodes of `rows` times `matrix` in whole numbers, in the form that onnxruntime makes one of.

    Rows are rounded once, whatever they are multiplied by.
    """
    from onnx import TensorProto, helper

    kept, scale, zero = f"{rows}_u8", f"{rows}_scale", f"{rows}_zero"
    nodes = []
    if rows not in rounded:
        rounded.add(rows)
        nodes.append(helper.make_node("DynamicQuantizeLinear", [rows], [kept, scale, zero]))
    whole, real, both = f"{output}_i32", f"{output}_f32", f"{output}_scale"
    return [
        *nodes,
        helper.make_node("MatMulInteger", [kept, f"{matrix}_i8", zero], [whole]),
        helper.make_node("Cast", [whole], [real], to=TensorProto.FLOAT),
        helper.make_node("Mul", [scale, f"{matrix}_scale"], [both]),
        helper.make_node("Mul", [real, both], [output]),
    ]


def _rounded(name: str, tensors: Tensors, turned: set[str]) -> list[Weight]:
    """A matrix and the scales of its columns, made in this order."""
    scales: list[AnyArray] = []

    def make() -> AnyArray:
        values = _values(name, tensors, turned)
        largest = np.abs(values).max(axis=0)
        scales.append(np.where(largest > 0, largest / _INT8_MOST, 1).astype(np.float32))
        return np.clip(np.rint(values / scales[0]), -_INT8_MOST, _INT8_MOST).astype(np.int8)

    n_columns = tensors[name].shape[0 if name in turned else 1]
    return [
        Weight(f"{name}_i8", tensors[name].numel(), make),
        Weight(f"{name}_scale", 4 * n_columns, scales.pop),
    ]


def _turn(graph: Any, tensors: Tensors) -> set[str]:
    """Names of matrices that the graph only ever multiplies by turned; it has them so from now on.

    onnxruntime would turn them when it loads the graph, and hold both.
    """
    users = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            users[name].append(node)
    turned = {
        name
        for name in tensors
        if users[name]
        and all(
            node.op_type == "Transpose" and list(node.attribute[0].ints) == [1, 0]
            for node in users[name]
        )
    }
    names = {node.output[0]: name for name in turned for node in users[name]}
    _rename(graph, names)
    return turned


def _take_alike(graph: Any, tensors: Tensors) -> None:
    """Weights that are the same are one input, which the exporter copies to the other names."""
    there = {value.name for value in graph.input}
    copies = [node for node in graph.node if node.op_type == "Identity" and node.input[0] in there]
    _rename(graph, {node.output[0]: node.input[0] for node in copies})
    for name in tensors.keys() - there:
        del tensors[name]


def _share_constants(graph: Any) -> None:
    """Keep large constants once that are the same."""
    first: dict[bytes, str] = {}
    names = {}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].t.ByteSize() >= _LARGE_BYTES:
            text = node.attribute[0].t.SerializeToString()
            name = first.setdefault(text, node.output[0])
            if name != node.output[0]:
                names[node.output[0]] = name
    _rename(graph, names)


def _rename(graph: Any, names: dict[str, str]) -> None:
    """Take values by other names, and leave out the nodes that made them."""
    kept = [node for node in graph.node if not any(name in names for name in node.output)]
    for node in kept:
        for at, name in enumerate(node.input):
            node.input[at] = names.get(name, name)
    nodes = list(kept)
    del graph.node[:]
    graph.node.extend(nodes)
