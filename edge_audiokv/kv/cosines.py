"""The DCT-II and its inverse by numpy's real FFT (Makhoul, IEEE Trans. ASSP 28(1), 1980).

scipy.fft has them; to import it costs 19 MB of a cap that is held to the byte.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_audiokv.kv.shape import FloatArray


def dct(signal: FloatArray) -> FloatArray:
    """Orthonormal DCT-II over the last axis of `signal` float32 [..., T], T at least 1."""
    n = signal.shape[-1]
    # Even places in order, then odd ones backwards: one period of an even signal, half of it.
    folded = np.concatenate([signal[..., ::2], signal[..., 1::2][..., ::-1]], axis=-1)
    turned = np.fft.rfft(folded, axis=-1) * _turns(n).conj()
    bins = np.empty(signal.shape, np.float32)
    half = n // 2 + 1
    bins[..., :half] = turned.real
    bins[..., half:] = -turned.imag[..., 1 : n - half + 1][..., ::-1]
    bins *= np.float32(np.sqrt(2 / n))
    bins[..., 0] *= np.float32(np.sqrt(0.5))
    return bins


def idct(bins: FloatArray) -> FloatArray:
    """The signal float32 [..., T] of which `dct` makes `bins` [..., T]."""
    n = bins.shape[-1]
    half = n // 2 + 1
    spectrum = np.zeros((*bins.shape[:-1], half), np.complex64)
    spectrum.real = bins[..., :half]
    spectrum.imag[..., 1:] = -bins[..., : n - half : -1] if n > 1 else 0
    spectrum *= _turns(n) * np.float32(np.sqrt(n / 2))
    spectrum[..., 0] *= np.float32(np.sqrt(2))
    folded = np.fft.irfft(spectrum, n=n, axis=-1)
    signal = np.empty(bins.shape, np.float32)
    even = (n + 1) // 2
    signal[..., ::2] = folded[..., :even]
    signal[..., 1::2] = folded[..., even:][..., ::-1]
    return signal


def _turns(n: int) -> NDArray[np.complex64]:
    """exp(i pi k / 2T) for the bins of a real FFT."""
    turns: NDArray[np.complex64] = np.exp(0.5j * np.pi / n * np.arange(n // 2 + 1)).astype(
        np.complex64
    )
    return turns
