"""Protect: the rows that methods always keep, as tiers for the selection (select.py)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_audiokv.kv.select import FREE, HARD, RECENT, SOFT
from edge_audiokv.kv.view import Kind, KVView

Tiers = NDArray[np.int8]


def sinks(view: KVView, n_sinks: int) -> Tiers:
    """HARD for the first `n_sinks` positions of the session, as far as a head's target allows."""
    hard = (view.positions < np.minimum(n_sinks, view.targets)[..., None]) & view.valid
    return np.where(hard, np.int8(HARD), np.int8(FREE))


def window(view: KVView, n_rows: int) -> Tiers:
    """RECENT for each head's newest `n_rows` rows."""
    recent = (view.rank_from_end < n_rows) & view.valid
    return np.where(recent, np.int8(RECENT), np.int8(FREE))


def text(view: KVView, share: float) -> Tiers:
    """SOFT for prompt rows, the newest first, up to `share` of each head's target."""
    prompt = (view.kinds == Kind.PROMPT) & view.valid
    newest = np.cumsum(prompt[..., ::-1], axis=2, dtype=np.int32)[..., ::-1]
    soft = prompt & (newest <= (view.targets * share)[..., None])
    return np.where(soft, np.int8(SOFT), np.int8(FREE))


def combine(*tiers: Tiers) -> Tiers:
    """The strongest protection of each row."""
    return np.asarray(np.maximum.reduce(tiers), np.int8)
