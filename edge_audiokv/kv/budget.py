"""Budgets: head weights -> rows of every head, in few lockstep levels, never above a cap.

The native layer wants at most 8 different capacities, each a multiple of `row_multiple` rows.
Published allocations round per head and leave part of the budget unspent (heads that cannot use
their share); here the surplus is water-filled and the rounding rest is handed out.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from edge_audiokv.errors import MemoryBudgetError, PolicyError
from edge_audiokv.kv.shape import FloatArray, IntArray, KVShape
from edge_audiokv.units import format_bytes

Float64Array = NDArray[np.float64]


def water_fill(
    weights: Float64Array, total: float, low: Float64Array, high: Float64Array
) -> Float64Array:
    """x = clip(low + s * weights, low, high) with s such that sum(x) = total (as far as bounds
    allow).

    Where the weighted heads are all full, the rest rises evenly in the others.
    """
    if total <= low.sum():
        return low.copy()
    if total >= high.sum():
        return high.copy()
    weights = np.maximum(weights, 0.0)
    whole = weights.sum()
    # A trace of evenness keeps the equation solvable when heads of weight 0 must take the rest.
    weights = (weights / whole if whole > 0 else np.zeros_like(weights)) + 1e-9 / weights.size

    def fill(scale: float) -> Float64Array:
        return np.minimum(low + scale * weights, high)

    below, above = 0.0, 1.0
    while fill(above).sum() < total:
        below, above = above, above * 4
    for _ in range(100):
        middle = (below + above) / 2
        if fill(middle).sum() < total:
            below = middle
        else:
            above = middle
    return fill(below)


def allocate(
    weights: FloatArray | Float64Array,
    total_rows: int,
    *,
    available: int | IntArray,
    floor_rows: int = 1,
    floor_share: float = 0.0,
    temperature: float = 1.0,
    levels: int = 8,
    row_multiple: int = 1,
) -> IntArray:
    """Rows of each head, int32 [L, H], for head weights [L, H] >= 0.

    A head gets at least `floor_rows` plus `floor_share` of the mean, at most `available` rows
    (rounded up to `row_multiple`), and in between a share proportional to weight ** temperature.
    At most `levels` different values, multiples of `row_multiple`; the sum is at most `total_rows`
    and, unless every head is full, less than one `row_multiple` a head short of it (fewer where
    levels allow: at least 97 % of any budget above 34 * row_multiple rows when levels >= 2).
    A head never gets fewer rows than one of smaller weight and no larger `available`.
    Raises MemoryBudgetError if `total_rows` cannot hold the floor.
    """
    weights = np.asarray(weights, np.float64)
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise PolicyError("Head weights must be finite and not negative.", cure="Calibrate anew.")
    n = weights.size
    cap = _round_up(np.broadcast_to(np.asarray(available), weights.shape).ravel(), row_multiple)
    floor_units = np.minimum(_round_up(np.full(n, floor_rows), row_multiple), cap) // row_multiple
    cap_units = cap // row_multiple
    total_units = total_rows // row_multiple
    if total_units < floor_units.sum():
        raise MemoryBudgetError(
            f"{total_rows} rows cannot hold the {floor_rows} that each of {n} heads must keep.",
            cure=f"At least {int(floor_units.sum()) * row_multiple} rows are needed.",
        )
    low = np.minimum(floor_units + floor_share * total_units / n, cap_units).astype(np.float64)
    low *= min(1.0, total_units / max(low.sum(), 1e-9))
    low = np.maximum(low, floor_units)
    flat = weights.ravel()
    flat = (flat / flat.max()) ** temperature if flat.max() > 0 else np.ones(n)
    wanted = water_fill(flat, total_units, low, cap_units.astype(np.float64))
    units = _into_levels(wanted, flat, floor_units, cap_units, total_units, levels)
    return (units * row_multiple).astype(np.int32).reshape(weights.shape)


def _round_up(rows: IntArray, multiple: int) -> NDArray[np.int64]:
    return -(-rows.astype(np.int64) // multiple) * multiple


def _into_levels(
    wanted: Float64Array,
    weights: Float64Array,
    floor: NDArray[np.int64],
    cap: NDArray[np.int64],
    total: int,
    levels: int,
) -> NDArray[np.int64]:
    """Group the heads into levels, round each down, hand out what is left, best-weighted heads
    first.
    """
    order = np.lexsort((weights, wanted))
    groups = _cluster(wanted[order], max(1, levels - 1))
    units = np.empty(wanted.size, np.int64)
    members = [order[start:stop] for start, stop in groups]
    for member in members:
        value = int(np.floor(wanted[member].mean() + 1e-6))
        units[member] = np.clip(value, floor[member].max(), cap[member].min())
    left = total - int(units.sum())
    # Rounding up to a floor can overshoot: take it back from the largest levels.
    while left < 0:
        member = max(members, key=lambda m: units[m[0]] - floor[m].max())
        if units[member[0]] <= floor[member].max():
            raise MemoryBudgetError("The budget cannot hold the floor in so few levels.")
        units[member] -= 1
        left += member.size
    # Whole levels rise while they can, the most under-served first, never past the level above ...
    while left > 0:
        open_levels = [
            member
            for i, member in enumerate(members)
            if units[member[0]] < cap[member].min()
            and (i + 1 == len(members) or units[member[0]] < units[members[i + 1][0]])
        ]
        fits = [member for member in open_levels if member.size <= left]
        if not fits:
            # ... and the rest makes one more level of the best heads of the highest open one.
            if open_levels and levels > 1:
                units[open_levels[-1][-left:]] += 1
            break
        member = max(fits, key=lambda m: float((wanted[m] - units[m]).mean()))
        gap = int((wanted[member] - units[member]).mean())
        above = [int(units[m[0]]) for m in members if units[m[0]] > units[member[0]]]
        limit = min([int(cap[member].min()), *above]) - int(units[member[0]])
        step = max(1, min(gap, left // member.size, limit))
        units[member] += step
        left -= step * member.size
    return units


def _cluster(ascending: Float64Array, k: int) -> list[tuple[int, int]]:
    """Split sorted values into at most k runs with the least squared error (exact, by dynamic
    programming).
    """
    values, start, count = np.unique(ascending.round(6), return_index=True, return_counts=True)
    n = values.size
    if n <= k:
        return [(int(s), int(s + c)) for s, c in zip(start, count, strict=True)]
    weight = np.concatenate([[0], np.cumsum(count)]).astype(np.float64)
    first = np.concatenate([[0], np.cumsum(values * count)])
    second = np.concatenate([[0], np.cumsum(values**2 * count)])
    i, j = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij")
    size = weight[j] - weight[i]
    mass = first[j] - first[i]
    error = second[j] - second[i] - np.where(size > 0, mass**2 / np.maximum(size, 1e-12), 0)
    error = np.where(j > i, np.maximum(error, 0), np.inf)
    best = error[0].copy()
    best[0] = 0.0
    back = np.zeros((k, n + 1), int)
    for depth in range(1, k):
        through = best[:, None] + error
        back[depth] = through.argmin(axis=0)
        best = through.min(axis=0)
    edges, at = [n], n
    for depth in range(k - 1, 0, -1):
        at = int(back[depth][at])
        edges.append(at)
    edges = [*dict.fromkeys([0, *reversed(edges)])]
    bounds = [0 if e == 0 else int(start[e - 1] + count[e - 1]) for e in edges]
    return list(itertools.pairwise(bounds))


def rows_in(cap_bytes: int, shape: KVShape) -> int:
    """Rows (of one KV head) that `cap_bytes` can hold.

    Raises MemoryBudgetError if that is not one a head.
    """
    rows = cap_bytes // shape.row_bytes
    if rows < shape.n_head:
        needed = shape.n_head * shape.row_bytes
        raise MemoryBudgetError(
            f"{format_bytes(cap_bytes)} of KV cache are no row for each of {shape.n_head} heads.",
            cure=f"Give it at least {format_bytes(needed)}.",
            required_bytes=needed,
        )
    return rows


def pyramid(
    n_layer: int, n_kv_head: int, *, beta: float = 20.0, window_share: float = 0.0
) -> FloatArray:
    """PyramidKV's layer weights: linear from 2C - C/beta in the first layer to C/beta in the last.

    `window_share` is the part of the mean budget C that every head keeps as its window.
    Returns float32 [L, H] with mean 1. Source: PyramidKV (2406.02069), published code.
    """
    least = (1 - window_share) / beta
    most = 2 * (1 - window_share) - least
    layers = np.linspace(most, least, n_layer) if n_layer > 1 else np.ones(1) * (1 - window_share)
    return np.repeat((layers + window_share)[:, None], n_kv_head, axis=1).astype(np.float32)


def joint_top(
    scores: FloatArray, counts: IntArray, budget: int, *, floor: float = 0.2
) -> Float64Array:
    """AdaKV's per-head shares: how many of a layer's jointly best rows each head owns.

    The layer pools H * `budget` rows; head share = owned * (1 - floor) + floor * budget (AdaKV,
    2407.11550, published code). Returns float64 [L, H]; each layer sums to about H * budget.
    """
    n_layer, n_head, n_rows = scores.shape
    valid = np.arange(n_rows) < counts[..., None]
    flat = np.where(valid, scores, -np.inf).reshape(n_layer, -1)
    pool = min(n_head * budget, flat.shape[1])
    top = np.argpartition(-flat, pool - 1, axis=1)[:, :pool]
    owned = np.zeros((n_layer, n_head))
    for layer in range(n_layer):
        owned[layer] = np.bincount(top[layer] // n_rows, minlength=n_head)
    return owned * (1 - floor) + floor * budget


def apart(targets: IntArray, least_rows: int | IntArray, *, row_multiple: int = 64) -> IntArray:
    """Capacities of at least `least_rows` (one number, or [L, H]), different wherever `targets`
    [L, H] differ, and as small as that allows.

    A context in which a whole prompt is read before it is cut needs as much room in every head,
    but heads of equal capacity are one lockstep level and cannot be cut to different counts.
    """
    least = np.maximum(np.broadcast_to(np.asarray(least_rows), targets.shape), 1)
    room = np.zeros(targets.shape, np.int32)
    above = 0
    for target in np.unique(targets):
        members = targets == target
        above = max(int(_round_up(least[members].max(), row_multiple)), above + row_multiple)
        room[members] = above
    return room
