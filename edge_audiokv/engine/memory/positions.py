"""What a cache does when positions run out: the oldest rows go, or old time closes up."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from edge_audiokv.kv.controller import Eviction
from edge_audiokv.kv.placement import place
from edge_audiokv.kv.shape import IntArray, Rows

if TYPE_CHECKING:
    from edge_audiokv.engine.cache import HeadCache


def shift(cache: HeadCache, delta: int, *, first: int) -> None:
    """Move all positions from `first + delta` on down by `delta`; what lies between is dropped.

    Survivors keep their distances to each other; the rows before `first` (the sinks) stay where
    they are. Frees the oldest rows first, so it is what ends the reach of an endless session.
    """
    started = time.perf_counter()
    context = cache.context
    positions, level = context.positions(), context.level
    stays = (positions >= 0) & ((positions < first) | (positions >= first + delta))
    left = stays.sum(axis=2)
    # Heads of a level hold equally many rows: the one that lost most decides.
    for index in np.unique(level):
        members = level == index
        left[members] = left[members].min()
    for layer, kept in enumerate(stays):  # one by one: the running sums are large
        is_first = (positions[layer] >= 0) & (positions[layer] < first)
        room = left[layer] - is_first.sum(axis=1)
        newest = np.cumsum(kept[:, ::-1], axis=1, dtype=np.int32)[:, ::-1]
        kept &= is_first | (newest <= room[:, None])
    freed = _keep(cache, Rows.from_mask(stays))
    context.shift(-delta, from_position=first + delta)
    cache.controller.shift(-delta, from_position=first + delta)
    if freed.freed_rows:
        cache.stats.add(freed, time.perf_counter() - started)
    cache.stats.shifts += 1


def squeeze(cache: HeadCache, placement: str, *, recent_tokens: int, limit: int) -> None:
    """Give every row a position of its own (kv/placement.py), the next token one of at most
    `limit`.

    What is younger than `recent_tokens` keeps its distances. Rows go only from heads that hold more
    of them than there are positions: as the policy chooses, else the oldest.
    """
    context, controller = cache.context, cache.controller
    n_sinks = controller.settings.n_sinks
    targets = np.minimum(context.counts, limit - n_sinks).astype(np.int32)
    if (targets < context.counts).any():
        if controller.policy.evicts:
            cache.evict(targets)
        else:
            _drop_oldest(cache, targets)
    started = time.perf_counter()
    positions = context.positions()
    moved, following = place(
        placement,
        controller.times(positions),
        now=controller.now,
        n_sinks=n_sinks,
        recent_tokens=recent_tokens,
        limit=limit,
    )
    context.move(moved[moved >= 0], following)
    controller.moved(positions, following)
    cache.stats.shifts += 1
    cache.stats.evict_s += time.perf_counter() - started


def _drop_oldest(cache: HeadCache, targets: IntArray) -> None:
    """Shrink heads to `targets` [L, H] rows: the sinks and the newest."""
    started = time.perf_counter()
    times, counts = cache.controller.times(cache.context.positions()), cache.context.counts
    is_first = (times >= 0) & (times < cache.controller.settings.n_sinks)
    newest = counts - (targets - is_first.sum(axis=2))
    row = np.arange(times.shape[2], dtype=np.int32)
    rows = Rows.from_mask((times >= 0) & (is_first | (row >= newest[..., None])))
    cache.stats.add(_keep(cache, rows), time.perf_counter() - started)


def _keep(cache: HeadCache, rows: Rows) -> Eviction:
    """Keep these rows, and say what that freed."""
    held = int(cache.context.counts.sum())
    cache.context.keep(rows)
    cache.controller.kept(rows)
    kept = int(rows.count.sum())
    freed_rows = held - kept
    return Eviction(freed_rows, freed_rows * cache.context.shape.row_bytes, kept)
