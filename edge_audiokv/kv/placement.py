"""Where rows go when positions run out: time that is long gone closes up.

The first tokens (sinks) stay, what was heard last keeps its true distances to the next token, and
older rows come closer:

    order   as close as they can: only their order is left (StreamingLLM)
    log     the logarithm of their age, so that twice as long ago is always about as much further
    drop    not at all: the oldest rows go, and all distances stay true

With the default model closing up reaches twice as far until about a quarter of an hour; by twenty
minutes the old rows crowd out newer ones, which dropping keeps better. So dropping is the default.

Distances are those of the true times at every squeeze, so many squeezes do not add up. Rows of a
head never share a position: where they lie too close, they push each other back, up to the sinks.
"""

from __future__ import annotations

import numpy as np

from edge_audiokv.kv.shape import IntArray


def place(
    placement: str,
    times: IntArray,
    *,
    now: int,
    n_sinks: int,
    recent_tokens: int,
    limit: int,
) -> tuple[IntArray, int]:
    """New positions of rows, int32 [L, H, T] (-1 in the padding), and the next token's, at most
    `limit`.

    `times` int32 [L, H, T] is when each row was heard, ascending in a head, -1 beyond its end;
    `now` is the next token's time. What is younger than `recent_tokens` keeps its distance to it.
    No head may hold more than `limit` - `n_sinks` rows beside its sinks.
    """
    recent = min(recent_tokens, (limit - n_sinks) // 2)
    is_old = (times >= n_sinks) & (times < now - recent)
    n_old = int(is_old.sum(axis=2).max(initial=0))
    following = limit
    scale = 0.0
    if placement == "order":
        following = min(limit, n_sinks + n_old + recent)
    elif n_old:
        oldest = int(times[is_old].min())
        scale = _scale(now - oldest - recent, limit - n_sinks - recent)

    out = np.empty_like(times)
    index = np.arange(times.shape[2], dtype=np.int32)
    for layer, heard in enumerate(times):  # one by one: these arrays are large
        age = now - heard
        beyond = np.maximum(age - recent, 0)
        if placement == "order":
            beyond = np.minimum(beyond, 1)
        elif scale:
            beyond = np.rint(scale * np.log1p(beyond / scale)).astype(np.int32)
        wanted = following - np.minimum(age, recent) - beyond
        # Each at least one before the next row, and behind the sinks.
        n_first = ((heard >= 0) & (heard < n_sinks)).sum(axis=1)[:, None]
        slack = np.where(heard < 0, np.int32(following), wanted - index)
        slack = np.minimum.accumulate(slack[:, ::-1], axis=1)[:, ::-1]
        slack = np.maximum(slack, n_sinks - n_first)
        out[layer] = np.where(heard < n_sinks, heard, slack + index)
    return out, following


def _scale(beyond: int, room: int) -> float:
    """The scale s at which s * log(1 + beyond / s) is `room`; 0 if all of it fits as it is."""
    if beyond <= room:
        return 0.0
    low, high = 1e-6, 1e9
    for _ in range(100):
        middle = (low * high) ** 0.5
        if middle * np.log1p(beyond / middle) < room:
            low = middle
        else:
            high = middle
    return low
