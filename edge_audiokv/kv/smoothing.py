"""Spectral score smoothing (AudioKV, arXiv 2604.06694, section "SSS") over all heads at once.

Paper mode, as printed (eq 16-17): X = rFFT(s); k* = the smallest k whose cumulative energy reaches
gamma of the whole; bins 0..k* stay; s^ = (1 - alpha) s + alpha irFFT. The transform is circular and
the mean counts as energy, so smooth scores are left alone and the newest rows leak into the oldest.

Edge mode, ours: the signal is audio frames alone on their uniform time grid; the cut-off is found
on the energy without the mean; the ends are reflected (a DCT-II is the Fourier transform of the
signal mirrored at both ends, at no padding); a raised cosine follows the cut-off.
"""

from __future__ import annotations

import numpy as np
from numpy import fft
from numpy.typing import NDArray

from edge_audiokv.kv.cosines import dct, idct
from edge_audiokv.kv.shape import FloatArray, IntArray


def smooth_paper(scores: FloatArray, *, gamma: float = 0.7, alpha: float = 0.5) -> FloatArray:
    """SSS as printed over the last axis of `scores` [..., T]. Results may be negative: rank
    only.
    """
    n = scores.shape[-1]
    if n < 2:
        return scores.copy()
    spectrum = fft.rfft(scores, axis=-1)
    cut = cut_off(np.abs(spectrum) ** 2, gamma)
    spectrum *= np.arange(spectrum.shape[-1]) <= cut[..., None]
    low = fft.irfft(spectrum, n=n, axis=-1)
    return np.asarray((1 - alpha) * scores + alpha * low, np.float32)


def smooth_grid(
    signal: FloatArray, *, gamma: float = 0.7, alpha: float = 0.5, taper: float = 0.05
) -> FloatArray:
    """Edge-mode SSS over the last axis of `signal` [..., T], a uniform time grid without gaps.

    `taper` is the raised cosine's width as a share of all bins, at least one bin; 0 turns it off.
    """
    n = signal.shape[-1]
    if n < 2:
        return signal.copy()
    bins = dct(signal)
    energy = bins**2
    energy[..., 0] = 0.0
    cut = cut_off(energy, gamma)[..., None]
    k = np.arange(n)
    if taper > 0:
        width = max(1, round(taper * n))
        phase = np.clip((k - cut) / (width + 1), 0.0, 1.0).astype(np.float32)
        bins *= 0.5 + 0.5 * np.cos(np.float32(np.pi) * phase)
    else:
        bins *= k <= cut
    low = idct(bins)
    return np.asarray((1 - alpha) * signal + alpha * low, np.float32)


def cut_off(energy: NDArray[np.floating], gamma: float) -> NDArray[np.intp]:
    """Smallest k with sum(energy[..k]) >= gamma * sum(energy), over the last axis."""
    cumulative = np.cumsum(energy, axis=-1, dtype=np.float64)
    wanted = gamma * cumulative[..., -1:]
    result: NDArray[np.intp] = np.argmax(cumulative >= wanted, axis=-1)
    return result


def smooth_rows(
    scores: FloatArray,
    frames: IntArray,
    *,
    gamma: float = 0.7,
    alpha: float = 0.5,
    taper: float = 0.05,
) -> FloatArray:
    """Edge-mode SSS of rows: laid out on the time grid, smoothed there, read back.

    `scores` float32 [L, H, T]; `frames` int32 [L, H, T] is each row's index on the audio grid, -1
    for rows that are not audio (left as they are). Frames that a head no longer holds take the
    score of the nearest earlier one it holds, so that gaps bend the signal as little as possible.
    """
    audio = frames >= 0
    if not audio.any():
        return scores.copy()
    first, last = int(frames[audio].min()), int(frames.max())
    n_grid = last - first + 1
    n_layer, n_head, n_rows = scores.shape
    flat_frames = frames.reshape(-1, n_rows)
    flat_scores = scores.reshape(-1, n_rows)
    head, row = np.nonzero(flat_frames >= 0)
    at = flat_frames[head, row] - first
    grid = np.zeros((n_layer * n_head, n_grid), np.float32)
    grid[head, at] = flat_scores[head, row]
    if head.size < grid.size:
        grid = _fill(grid, head, at)
    low = smooth_grid(grid, gamma=gamma, alpha=alpha, taper=taper)
    out = flat_scores.copy()
    out[head, row] = low[head, at]
    return out.reshape(scores.shape)


def _fill(grid: FloatArray, head: NDArray[np.intp], at: NDArray[np.integer]) -> FloatArray:
    """Give empty cells the value of the nearest earlier full cell (the first full one at the
    start).
    """
    source = np.full(grid.shape, -1, np.int32)
    source[head, at] = at
    first = np.where((source >= 0).any(axis=1), np.argmax(source >= 0, axis=1), 0)
    source = np.maximum.accumulate(source, axis=1)
    source = np.where(source < 0, first[:, None], source)
    return np.take_along_axis(grid, source, axis=1)


def pool(scores: FloatArray, kernel: int, *, mode: str = "mean") -> FloatArray:
    """SnapKV's pooling over the last axis: `kernel` wide, stride 1, same length.

    "mean" counts the zeros beyond the ends, as the published average pooling does; "max" does not.
    """
    if kernel <= 1 or scores.shape[-1] == 0:
        return scores.copy()
    before, after = kernel // 2, (kernel - 1) // 2
    ends = [(0, 0)] * (scores.ndim - 1) + [(before, after)]
    filled = np.pad(scores, ends, constant_values=-np.inf if mode == "max" else 0.0)
    windows = np.lib.stride_tricks.sliding_window_view(filled, kernel, axis=-1)
    out = windows.max(axis=-1) if mode == "max" else windows.mean(axis=-1)
    return np.asarray(out, np.float32)
