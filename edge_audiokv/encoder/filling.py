"""Graphs without weights: an initialiser outside the graph is named `VARIABLE|KIND`.

So the weights that a package carries serve as they are, and nothing of them is committed here.
A matrix [out, in] comes as `int8` [in, out] and `scale` [out], whose product is nearest to it row
by row; anything comes as `float`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from .variables import Variables

FLOAT, INT8, SCALE = "float", "int8", "scale"
# Rows that are rounded at once: a whole table in float32 would be the peak of all memory.
_ROWS = 4096


def fill(variables: Variables, place: str) -> NDArray[np.generic]:
    """What belongs at `place`. Raises ModelError for a place that is none."""
    name, _, kind = place.rpartition("|")
    values = variables[name]
    if kind == FLOAT:
        return np.ascontiguousarray(values, dtype=np.float32)
    if kind not in (INT8, SCALE) or values.ndim != 2 or not values.size:
        raise ModelError(
            f"A graph asks for {place!r}, which {variables.path} cannot give.",
            cure="Take the weights that the graphs were made for.",
        )
    scale = np.maximum(np.abs(values).max(axis=1).astype(np.float32), 1e-12) / 127
    if kind == SCALE:
        return scale
    turned = np.empty(values.shape[::-1], np.int8)
    for start in range(0, len(values), _ROWS):
        rows = slice(start, start + _ROWS)
        turned[:, rows] = np.rint(values[rows] / scale[rows, None]).astype(np.int8).T
    return turned
