"""Select: the rows of every head that stay, by protection tier, then score, then age."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_audiokv.errors import PolicyError
from edge_audiokv.kv.shape import FloatArray, IntArray, Rows
from edge_audiokv.kv.view import BoolArray

# Rows of tier HARD are never dropped; those of the tiers between yield, lowest first, when the
# target cannot hold them. FREE rows compete by score.
FREE, SOFT, RECENT, HARD = 0, 1, 2, 3


def select(
    scores: FloatArray,
    tiers: NDArray[np.int8],
    counts: IntArray,
    targets: IntArray,
    *,
    first_layer: int = 0,
) -> Rows:
    """The `targets` [L, H] best rows of each head, ascending. Equal rows: the newer stays.

    `scores` [L, H, T] may hold infinities and NaN (counted as the lowest); `tiers` int8 [L, H, T].
    Exactly min(count, target) rows of every head stay. Raises PolicyError if the HARD rows of a
    head exceed its target; nothing is selected then.
    """
    n_layer, n_head, n_rows = scores.shape
    valid = np.arange(n_rows, dtype=np.int32) < counts[..., None]
    kept = np.minimum(counts, targets).astype(np.int64)
    hard = ((tiers == HARD) & valid).sum(axis=2)
    if (hard > kept).any():
        layer, head = np.unravel_index(int(np.argmax(hard - kept)), hard.shape)
        raise PolicyError(
            f"Head {head} of layer {first_layer + layer} must keep {hard[layer, head]} protected"
            f" rows, but its budget is {kept[layer, head]}.",
            cure=f"Give each head at least {int(hard.max())} rows: raise mem= or kv_share=.",
        )
    key = _keys(scores, tiers, valid).reshape(-1, n_rows)
    keep = _top(key, kept.ravel())
    return Rows.from_mask(keep.reshape(n_layer, n_head, n_rows))


def _keys(scores: FloatArray, tiers: NDArray[np.int8], valid: BoolArray) -> NDArray[np.float64]:
    """One sortable number a row: tier + a score squeezed into (0, 1); padding is -1."""
    finite = np.isfinite(scores) & valid
    low = np.where(finite, scores, np.inf).min(axis=2, keepdims=True, initial=np.inf)
    high = np.where(finite, scores, -np.inf).max(axis=2, keepdims=True, initial=-np.inf)
    low = np.where(np.isfinite(low), low, 0.0).astype(np.float64)
    span = np.where(np.isfinite(high), high, 0.0).astype(np.float64) - low
    scale = 0.5 / np.where(span > 0, span, 1.0)
    key = np.where(finite, scores, 0.0).astype(np.float64)
    key -= low
    key *= scale
    key += 0.25
    key[~finite] = 0.0
    key[np.isposinf(scores)] = 0.9
    key += tiers
    key[~valid] = -1.0
    return key


def _top(key: NDArray[np.float64], kept: NDArray[np.int64]) -> BoolArray:
    """Mask [N, T] of the `kept` [N] largest of each row; equal keys: the later column."""
    n_rows = key.shape[1]
    mask = np.zeros(key.shape, bool)
    for count in np.unique(kept):
        heads = np.flatnonzero(kept == count)
        if count == 0:
            continue
        part = key[heads]
        if count >= n_rows:
            mask[heads] = True
            continue
        threshold = np.partition(part, n_rows - count, axis=1)[:, n_rows - count, None]
        above = part > threshold
        tied = part == threshold
        missing = count - above.sum(axis=1, keepdims=True)
        newest = np.cumsum(tied[:, ::-1], axis=1)[:, ::-1] <= missing
        mask[heads] = above | (tied & newest)
    return mask
