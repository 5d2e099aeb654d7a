"""The frame decoder's words a block at a time, so that no more of their table is ever float32.

A table of 31,739 words is 12 MB as int8 and 49 MB as the float32 that it is multiplied as; logits
of 15 s are 24 MB, several times over. A block at a time they are an eighth of that: the likeliest
of each block, and the logarithm of its sum, are enough for the likeliest of all and the softmax.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from edge_audiokv.errors import InputError

BLOCKS = 8
# A block must hold more words than are named of each row.
_LEAST_WORDS = 16
_AXIS, _LAST = "/words/axis", "/words/last"


def split_words(model: Any, n_blocks: int = BLOCKS) -> None:
    """Rewrite the words of an exported `model` in place. Raises InputError if it has none as
    `export_onnx` writes them, or has been rewritten.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    maker = {out: node for node in graph.node for out in node.output}

    gone: set[str] = set()

    def made_by(name: str, kind: str) -> Any:
        node = maker.get(name)
        while node is not None and node.op_type == "Cast":
            gone.add(node.output[0])
            name, node = node.input[0], maker.get(node.input[0])
        if node is None or node.op_type != kind:
            raise InputError(
                f"The graph makes {name} by no {kind}: its words cannot be split.",
                cure="Give one that scripts/export_model.py wrote, and that is not split yet.",
            )
        return node

    top = made_by("beliefs", "TopK")
    part = made_by(top.input[0], "Slice")
    softmax = made_by(part.input[0], "Softmax")
    biased = made_by(softmax.input[0], "Add")
    joined, bias = made_by(biased.input[0], "Concat"), biased.input[1]
    blank, words = (made_by(name, "MatMul") for name in joined.input)
    turned = made_by(words.input[1], "Transpose")
    table = made_by(turned.input[0], "DequantizeLinear")
    for each in (part, softmax, biased, joined, words, turned, table):
        gone.update(each.output)
    stored = {each.name: each for each in graph.initializer}
    rows, scale = (numpy_helper.to_array(stored[name]) for name in table.input)

    nodes: list[Any] = []

    def add(kind: str, inputs: list[str], name: str, **facts: Any) -> str:
        outputs = [f"/words/{name}"] if kind != "TopK" else [f"/words/{name}", f"/words/{name}_at"]
        nodes.append(helper.make_node(kind, inputs, outputs, **facts))
        return outputs[0]

    def constant(name: str, value: Any) -> str:
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def log_sum(logits: str, name: str) -> str:
        most = add("ReduceMax", [logits], f"{name}/most", axes=[-1], keepdims=1)
        less = add("Sub", [logits, most], f"{name}/less")
        summed = add("ReduceSum", [add("Exp", [less], f"{name}/exp"), _LAST], f"{name}/sum")
        return add("Add", [add("Log", [summed], f"{name}/log"), most], f"{name}/log_sum")

    def part_of_bias(first: int, end: int, name: str) -> str:
        ends = constant(f"/words/{name}/first", [first]), constant(f"/words/{name}/end", [end])
        return add("Slice", [bias, *ends, _AXIS], f"{name}/bias")

    constant(_AXIS, [0])
    constant(_LAST, [-1])
    likeliest, places, sums = [], [], []
    n_blocks = max(1, min(n_blocks, len(rows) // _LEAST_WORDS))
    edges = np.linspace(0, len(rows), n_blocks + 1).astype(int).tolist()
    for i, (first, end) in enumerate(pairwise(edges)):
        name, kept = f"block{i}", f"{table.input[0]}.{i}"
        inputs = [constant(kept, rows[first:end]), constant(f"{kept}_scale", scale[first:end])]
        block = add("DequantizeLinear", inputs, f"{name}/table", axis=0)
        block = add("Transpose", [block], f"{name}/turned", perm=[1, 0])
        logits = add("MatMul", [words.input[0], block], f"{name}/product")
        # The bias of the blank stands before those of the words.
        logits = add("Add", [logits, part_of_bias(first + 1, end + 1, name)], f"{name}/logits")
        likeliest.append(add("TopK", [logits, top.input[1]], f"{name}/top", axis=-1))
        offset = constant(f"/words/{name}/offset", first)
        places.append(add("Add", [f"{likeliest[-1]}_at", offset], f"{name}/places"))
        sums.append(log_sum(logits, name))
    silent = add("Add", [blank.output[0], part_of_bias(0, 1, "blank")], "blank/logits")
    whole = log_sum(add("Concat", [*sums, silent], "sums", axis=-1), "all")
    best = add("Concat", likeliest, "likeliest", axis=-1)
    best = add("TopK", [best, top.input[1]], "best", axis=-1)
    where = add("Concat", places, "places", axis=-1)
    nodes.append(
        helper.make_node("GatherElements", [where, f"{best}_at"], [top.output[1]], axis=-1)
    )
    nodes.append(helper.make_node("Exp", [add("Sub", [best, whole], "relative")], ["beliefs"]))

    kept_nodes = []
    for node in graph.node:
        if node.output[0] == top.output[0]:
            kept_nodes += nodes
        elif node.output[0] not in gone:
            kept_nodes.append(node)
    for name in table.input:
        graph.initializer.remove(stored[name])
    del graph.node[:]
    graph.node.extend(_needed(kept_nodes, [each.name for each in graph.output]))


def _needed(nodes: list[Any], outputs: list[str]) -> list[Any]:
    """Those of `nodes`, in order, that `outputs` come from."""
    wanted, needed = set(outputs), []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            needed.append(node)
    return needed[::-1]
