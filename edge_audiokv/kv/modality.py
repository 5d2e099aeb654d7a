"""Steps that several policies share: quotas by kind of row, sets shared by heads, vector norms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edge_audiokv.kv.shape import FloatArray
from edge_audiokv.kv.view import BoolArray, Kind, KVView


def is_audio(view: KVView) -> BoolArray:
    """Audio rows, [L, H, T]."""
    return np.asarray((view.kinds == Kind.AUDIO) & view.valid, bool)


def mass(scores: FloatArray, rows: BoolArray) -> NDArray[np.float64]:
    """Summed finite score of `rows` per head, float64 [L, H]."""
    clean = np.where(rows & np.isfinite(scores), scores, 0.0)
    return np.asarray(clean.sum(axis=2, dtype=np.float64))


def rank(scores: FloatArray, rows: BoolArray) -> FloatArray:
    """0 for the best of `rows` in each head, 1 for the next, ...; +inf elsewhere. [L, H, T]."""
    clean = np.where(rows, np.nan_to_num(scores, nan=-1e30, neginf=-1e30), -np.inf)
    order = np.argsort(-clean, axis=2, kind="stable")
    ranks = np.empty(scores.shape, np.float32)
    steps = np.broadcast_to(np.arange(scores.shape[2], dtype=np.float32), scores.shape)
    np.put_along_axis(ranks, order, steps, axis=2)
    return np.where(rows, ranks, np.float32(np.inf))


def by_quota(view: KVView, scores: FloatArray, audio_share: NDArray[np.floating]) -> FloatArray:
    """Scores whose top `targets` hold `audio_share` [L, H] audio rows and else text, each its best.

    A row's new score is minus its rank within its kind over the kind's quota.
    """
    audio = is_audio(view)
    quota = np.maximum(audio_share * view.targets, 1e-3)[..., None]
    rest = np.maximum((1 - audio_share) * view.targets, 1e-3)[..., None]
    spoken = -(rank(scores, audio) + 1) / quota
    written = -(rank(scores, ~audio & view.valid) + 1) / rest
    return np.where(audio, spoken, np.where(view.valid, written, -np.inf)).astype(np.float32)


def shared_over_heads(
    view: KVView, scores: FloatArray, weights: FloatArray | None = None, *, layers: bool = False
) -> FloatArray:
    """Mean score of each position over the heads of a layer (or of all layers), given to each.

    `weights` [L, H] weigh the heads. Heads that dropped a position do not count for it.
    """
    n_positions = max(1, view.kind_of.size, int(view.positions.max(initial=0)) + 1)
    n_layer = scores.shape[0]
    at = np.where(view.valid, view.positions, 0)
    group = np.zeros(n_layer, np.intp) if layers else np.arange(n_layer)
    index = group[:, None, None] * n_positions + at
    weigh = np.ones(scores.shape[:2], np.float64) if weights is None else weights.astype(np.float64)
    weigh = np.where(view.valid, weigh[..., None], 0.0)
    clean = np.where(view.valid & np.isfinite(scores), scores, 0.0)
    size = (int(group.max()) + 1) * n_positions
    total = np.bincount(index.ravel(), (clean * weigh).ravel(), minlength=size)
    count = np.bincount(index.ravel(), weigh.ravel(), minlength=size)
    mean = total / np.maximum(count, 1e-30)
    return np.where(view.valid, mean[index], 0.0).astype(np.float32)


def norms(view: KVView, read: Callable[[int, int], FloatArray]) -> FloatArray:
    """Euclidean norm of each row's vector, float32 [L, H, T], 0 in the padding."""
    out = np.zeros(view.positions.shape, np.float32)
    for layer, head in np.ndindex(*view.counts.shape):
        vectors = read(layer, head)
        out[layer, head, : len(vectors)] = np.linalg.norm(vectors, axis=1)
    return out


def normalised(scores: FloatArray, valid: BoolArray) -> NDArray[np.float64]:
    """Each head's scores as a distribution over its rows, float64 [L, H, T]."""
    clean = np.where(valid & np.isfinite(scores), np.maximum(scores, 0), 0).astype(np.float64)
    whole = clean.sum(axis=2, keepdims=True)
    share: NDArray[np.float64] = clean / np.maximum(whole, 1e-30)
    return share
