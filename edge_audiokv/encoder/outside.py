"""Which other files an ONNX graph names, read without loading it.

Large graphs keep their weights in files beside them. Where those lie is a text in the graph, and
onnxruntime has not always kept it inside the folder. So the path is looked at first, in the
protobuf encoding itself: fields are (number << 3 | type), lengths are varints.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import ModelError
from ..models.naming import fault_of_path

# Fields that lead from a message to tensors, as onnx.proto names and numbers them.
_WAYS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 25: "function", 20: "training"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {
        5: "tensor",
        10: "tensor",
        6: "graph",
        11: "graph",
        22: "sparse",
        23: "sparse",
    },
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
_VARINT, _FIXED_64, _LENGTH, _FIXED_32 = 0, 1, 2, 5
_MAX_DEPTH = 64  # loops in loops; protobuf itself stops at 100 messages


def check_outside_data(path: Path) -> None:
    """Raise ModelError if the graph in `path` names a file that does not lie in its folder.

    Also for what is no ONNX graph, as far as that shows.
    """
    folder = path.parent.resolve()
    try:
        for name in outside_places(path):
            inside = (folder / name).resolve() if fault_of_path(name) is None else None
            if inside is None or not inside.is_relative_to(folder) or not os.path.isfile(inside):
                raise ModelError(
                    f"The encoder {path} names {name!r} for weights, no file in its folder.",
                    cure="Export it anew, as one file or with its data beside it.",
                )
    except (ValueError, OSError) as error:
        raise ModelError(
            f"{path} is not a usable ONNX encoder: {error}.",
            cure="Fetch it again or check the path.",
        ) from None


def outside_places(path: Path) -> list[str]:
    """Where the tensors of a graph say that their data lies.

    Raises ValueError for what is no such file, and OSError.
    """
    with path.open("rb") as stream:
        if not stream.seek(0, os.SEEK_END):
            raise ValueError("it is empty")
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return list(_places(data, 0, len(data), "model", 0))


def _places(data: mmap.mmap, at: int, end: int, kind: str, depth: int) -> Iterator[str]:
    if depth > _MAX_DEPTH:
        raise ValueError("its graphs are nested too deeply")
    ways = _WAYS[kind]
    for field, start, stop in _messages(data, at, end):
        inner = ways.get(field)
        if inner == "entry":
            # A key and a value; of several, protobuf takes the last.
            texts = {number: (first, last) for number, first, last in _messages(data, start, stop)}
            key, value = (texts.get(number, (0, 0)) for number in (1, 2))
            if data[slice(*key)] == b"location":
                yield data[slice(*value)].decode("utf-8")
        elif inner is not None:
            yield from _places(data, start, stop, inner, depth + 1)


def _messages(data: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of each field that has a length."""
    while at < end:
        tag, at = _varint(data, at, end)
        if tag & 7 == _VARINT:
            _, at = _varint(data, at, end)
        elif tag & 7 in (_FIXED_32, _FIXED_64):
            at += 4 if tag & 7 == _FIXED_32 else 8
        elif tag & 7 == _LENGTH:
            size, at = _varint(data, at, end)
            if size > end - at:
                raise ValueError("it is cut short")
            yield tag >> 3, at, at + size
            at += size
        else:
            raise ValueError("it is no ONNX graph")
    if at > end:
        raise ValueError("it is cut short")


def _varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            raise ValueError("it is cut short")
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("it is no ONNX graph")
