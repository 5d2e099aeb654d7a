"""An ONNX file written weight by weight: of a graph of gigabytes one tensor is held at a time.

Concatenated protobuf messages are one message: their lists are joined. So a file is the graph
without its weights, and then, for each weight, a graph that holds nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from edge_audiokv.families.weights import AnyArray, Weight

# Tags of length-delimited fields: ModelProto.graph, GraphProto.initializer.
_GRAPH, _INITIALIZER = 7 << 3 | 2, 5 << 3 | 2
# Values of smaller weights stay in the graph: onnxruntime reads shapes from some of them.
_LEAST_OUTSIDE_BYTES = 1024
_ALIGN_BYTES = 4096


def write(graph: Any, weights: Iterable[Weight], target: Path, data: Path | None) -> None:
    """Write the model `graph` with `weights` to `target`, their values to `data` if it is given.

    Raises OSError.
    """
    from onnx import numpy_helper

    outside = data.open("wb") if data is not None else None
    try:
        with target.open("wb") as stream:
            stream.write(graph.SerializeToString())
            for weight in weights:
                name, values = weight.name, np.ascontiguousarray(weight.make())
                if outside is not None and values.nbytes >= _LEAST_OUTSIDE_BYTES:
                    tensor = _outside(name, values, outside)
                else:
                    tensor = numpy_helper.from_array(values, name)
                del values
                text = tensor.SerializeToString()
                inner = bytes([_INITIALIZER]) + _varint(len(text))
                stream.write(bytes([_GRAPH]) + _varint(len(inner) + len(text)) + inner)
                stream.write(text)
    finally:
        if outside is not None:
            outside.close()


def _outside(name: str, values: AnyArray, stream: Any) -> Any:
    from onnx import TensorProto, helper

    offset = -(-stream.tell() // _ALIGN_BYTES) * _ALIGN_BYTES
    stream.write(bytes(offset - stream.tell()))
    stream.write(values.data)
    tensor = TensorProto(
        name=name,
        dims=values.shape,
        data_type=helper.np_dtype_to_tensor_dtype(values.dtype),
        data_location=TensorProto.EXTERNAL,
    )
    place = Path(stream.name).name
    for key, value in (("location", place), ("offset", offset), ("length", values.nbytes)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def _varint(number: int) -> bytes:
    made = bytearray()
    while number > 0x7F:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*made, number])
