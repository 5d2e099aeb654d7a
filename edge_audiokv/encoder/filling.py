"""Graphs without weights: an initialiser outside the graph is named `VARIABLE|KIND`.

So the weights that a package carries serve as they are, and nothing of them is committed here.
A matrix [out, in] comes as `int8` [in, out] and `scale` [out], whose product is nearest to it row
by row; anything comes as `float`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from .variables import Variables

FLOAT, INT8, SCALE = "float", "int8", "scale"
# Rows that are rounded at once: a whole table in float32 would be the peak of all memory.
_ROWS = 1024


def fill(variables: Variables, places: Sequence[str]) -> dict[str, NDArray[np.generic]]:
    """What belongs at each of `places`. Raises ModelError for a place that is none."""
    found: dict[str, NDArray[np.generic]] = {}
    for place in places:
        name, _, kind = place.rpartition("|")
        values = variables[name]
        if kind == FLOAT:
            found[place] = np.ascontiguousarray(values, dtype=np.float32)
        elif kind in (INT8, SCALE) and values.ndim == 2 and values.size:
            if place not in found:
                found |= dict(zip((f"{name}|{INT8}", f"{name}|{SCALE}"), int8(values), strict=True))
        else:
            raise ModelError(
                f"A graph asks for {place!r}, which {variables.path} cannot give.",
                cure="Take the weights that the graphs were made for.",
            )
    return {place: found[place] for place in places}


def int8(values: NDArray[np.generic]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """(int8 [in, out], scale [out]) nearest to `values` [out, in], row by row of it."""
    turned = np.empty(values.shape[::-1], np.int8)
    scale = np.empty(len(values), np.float32)
    for start in range(0, len(values), _ROWS):
        rows = slice(start, start + _ROWS)
        block = values[rows].astype(np.float32)
        scale[rows] = np.maximum(np.abs(block).max(axis=1), 1e-12) / 127
        block /= scale[rows, None]
        turned[:, rows] = np.rint(block, out=block).astype(np.int8).T
    return turned, scale
