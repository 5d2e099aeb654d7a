"""Cut long audio into windows that an encoder takes, at quiet points of the token grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SEARCHED_SHARE = 0.5  # a cut lies in the last half of a window, so windows never get tiny


def split_points(
    audio: NDArray[np.float32], token_samples: int, max_tokens: int
) -> list[tuple[int, int]]:
    """Token ranges `[start, end)` that cover `audio` [S], none longer than `max_tokens`.

    A last token may be short of samples. A cut is made before the quietest token (energy smoothed
    over three) in the last half of each window; what is left is never cut below half a window.
    """
    n_tokens = -(-len(audio) // token_samples)
    if n_tokens <= max_tokens:
        return [(0, n_tokens)] if n_tokens else []
    n_whole = len(audio) // token_samples
    frames = audio[: n_whole * token_samples].reshape(n_whole, token_samples)
    tail = audio[n_whole * token_samples :]
    energy = np.einsum("ts,ts->t", frames, frames)
    if len(tail):
        energy = np.append(energy, np.dot(tail, tail))
    smooth = np.convolve(energy, np.ones(3, dtype=np.float32) / 3, mode="same")
    ranges = []
    start = 0
    while n_tokens - start > max_tokens:
        # Leave at least half a window for the rest, which embeds better than a sliver.
        latest = min(start + max_tokens, n_tokens - max(1, max_tokens // 2))
        earliest = min(start + max(1, int(max_tokens * _SEARCHED_SHARE)), latest)
        # Among equally quiet tokens (digital silence) the last one makes the longest window.
        quiet = smooth[earliest : latest + 1]
        end = latest - int(np.argmin(quiet[::-1]))
        ranges.append((start, end))
        start = end
    ranges.append((start, n_tokens))
    return ranges
