"""Merging: fold the values of dropped rows into kept neighbours.

Values only. Keys are stored rotated by their own positions, and averaging rotated keys of different
positions is unsound (every attempt in llama.cpp PR 5719 failed its passkey test); kvpress's
MergingPress leaves keys alone for the same reason.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_audiokv.kv.shape import FloatArray, IntArray


@dataclass(frozen=True)
class Merge:
    """New values [N, D] of rows [N] of one head, rows counted after the keep."""

    layer: int
    head: int
    rows: IntArray
    values: FloatArray


def merge_nearest(
    keys: FloatArray,
    values: FloatArray,
    positions: IntArray,
    kept: IntArray,
    mergeable: NDArray[np.bool_],
    *,
    reach: int,
    threshold: float,
    weight: FloatArray | None = None,
) -> tuple[IntArray, FloatArray]:
    """Fold each dropped mergeable row into the more similar of its two kept neighbours.

    keys, values [T, D]; positions [T]; kept ascending row indices; `mergeable` [T]. A dropped row
    is folded if a kept mergeable neighbour lies within `reach` positions and their keys' cosine is
    at least `threshold`. The new value is the mean weighted by `weight` [T] (default 1).
    Returns (index into `kept` [N], values [N, D]) of the rows that change.
    """
    none = np.empty(0, np.int32), np.empty((0, values.shape[1]), np.float32)
    is_kept = np.zeros(len(positions), bool)
    is_kept[kept] = True
    dropped = np.flatnonzero(~is_kept & mergeable)
    if dropped.size == 0 or kept.size == 0:
        return none
    unit = keys / np.maximum(np.linalg.norm(keys, axis=1, keepdims=True), 1e-12)
    after = np.searchsorted(kept, dropped)
    best = np.full(dropped.size, -np.inf, np.float32)
    target = np.zeros(dropped.size, np.intp)
    for side in (after - 1, after):
        inside = (side >= 0) & (side < kept.size)
        slot = np.clip(side, 0, kept.size - 1)
        row = kept[slot]
        near = np.abs(positions[row] - positions[dropped]) <= reach
        cosine = np.einsum("nd,nd->n", unit[row], unit[dropped])
        cosine = np.where(inside & near & mergeable[row], cosine, -np.inf)
        better = cosine > best
        target = np.where(better, slot, target)
        best = np.where(better, cosine, best).astype(np.float32)
    folded = best >= threshold
    if not folded.any():
        return none
    dropped, target = dropped[folded], target[folded]
    weight = np.ones(len(positions), np.float32) if weight is None else weight
    mass = np.zeros(kept.size, np.float32)
    total = np.zeros((kept.size, values.shape[1]), np.float32)
    np.add.at(mass, target, weight[dropped])
    np.add.at(total, target, weight[dropped, None] * values[dropped])
    changed = np.flatnonzero(np.bincount(target, minlength=kept.size))
    own = weight[kept[changed]]
    whole = own + mass[changed]
    merged = (own[:, None] * values[kept[changed]] + total[changed]) / np.maximum(whole, 1e-12)[
        :, None
    ]
    return changed.astype(np.int32), np.where(whole[:, None] > 0, merged, values[kept[changed]])
