"""Where a reader looked as it wrote: frames of each token, by dynamic time warping.

Method: Whisper's own word times (openai/whisper, timing.py). Attention of the heads that follow the
sound is normalised over the tokens, smoothed over frames and averaged; the path through it that
never goes back, and leaves out neither token nor frame, gives each token its frames.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SMOOTHED_FRAMES = 7

Frames = NDArray[np.int32]


def warp(cost: NDArray[np.floating]) -> tuple[Frames, Frames]:
    """First and last column of each row on the cheapest monotonic path through `cost` [N, M].

    It begins in the first cell and ends in the last one; steps go to the next row, the next column
    or both. Two empty arrays for no cells.
    """
    n_rows, n_columns = cost.shape
    first, last = np.zeros(n_rows, np.int32), np.zeros(n_rows, np.int32)
    if not n_rows or not n_columns:
        return first[:0], last[:0]
    totals = np.full((n_rows, n_columns), np.inf)
    entered = np.zeros((n_rows, n_columns), np.int32)
    before = np.full(n_columns, np.inf)
    before[0] = 0.0
    columns = np.arange(n_columns, dtype=np.int32)
    for row in range(n_rows):
        # Along a row the cost only adds up: the best column to enter it by is a running minimum.
        sums = np.cumsum(cost[row], dtype=np.float64)
        gain = before - np.append(0.0, sums[:-1])
        best = np.minimum.accumulate(gain)
        entered[row] = np.maximum.accumulate(np.where(gain == best, columns, 0))
        totals[row] = sums + best
        before = np.minimum(totals[row], np.append(np.inf, totals[row, :-1]))
    column = n_columns - 1
    for row in range(n_rows - 1, -1, -1):
        last[row], first[row] = column, entered[row, column]
        column = int(first[row])
        if row and column and totals[row - 1, column - 1] <= totals[row - 1, column]:
            column -= 1
    return first, last


def token_frames(looks: NDArray[np.float32]) -> tuple[Frames, Frames]:
    """First and last frame of each of N tokens from attention `looks` [N, heads, frames]."""
    if not len(looks) or not looks.shape[2]:
        return np.zeros(len(looks), np.int32), np.zeros(len(looks), np.int32)
    deviation = looks.std(axis=0, keepdims=True)
    weights = (looks - looks.mean(axis=0, keepdims=True)) / np.maximum(deviation, 1e-6)
    smooth = _median(weights)
    return warp(-smooth.mean(axis=1))


def _median(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Median of every frame and its neighbours, mirrored at the ends."""
    # scipy.ndimage has it, and takes longer to import than a start should.
    half = _SMOOTHED_FRAMES // 2
    mirrored = np.pad(values, ((0, 0), (0, 0), (half, half)), mode="symmetric")
    windows = np.lib.stride_tricks.sliding_window_view(mirrored, _SMOOTHED_FRAMES, axis=2)
    return np.asarray(np.median(windows, axis=-1))
