"""Whisper's log-mel front end as part of a graph: samples in, any number of 10 ms.

Method: Radford et al. 2022, arXiv:2212.04356, section 2.2; the values of transformers'
WhisperFeatureExtractor.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

RATE_HZ, N_FFT, HOP = 16_000, 400, 160


def mel_filters(n_mels: int) -> npt.NDArray[np.float64]:
    """Slaney's triangular filters of equal area [n_mels, 201], 0 to 8 kHz."""
    top = 15 + np.log(RATE_HZ / 2 / 1000) * 27 / np.log(6.4)
    points = np.linspace(0.0, top, n_mels + 2)
    edges = np.where(points < 15, points * 200 / 3, 1000 * np.exp((points - 15) * np.log(6.4) / 27))
    bins = np.linspace(0, RATE_HZ / 2, N_FFT // 2 + 1)
    widths = np.diff(edges)[:, None]
    rising = (bins - edges[:-2, None]) / widths[:-1]
    falling = (edges[2:, None] - bins) / widths[1:]
    area = 2 / (edges[2:] - edges[:-2])[:, None]
    bank: npt.NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling)) * area
    return bank


class Power(nn.Module):
    """Samples [1, S] -> power spectrum [1, n_fft // 2 + 1, S // 160 + 1] of frames of 25 ms, whose
    middles are a hop apart and begin at the first sample; S at least 160.
    """

    dft: Tensor

    def __init__(self, n_fft: int = N_FFT) -> None:
        super().__init__()
        self.bins = n_fft // 2 + 1
        time, bins = np.arange(N_FFT), np.arange(self.bins)[:, None]
        window = 0.5 - 0.5 * np.cos(2 * np.pi * time / N_FFT)
        angle = 2 * np.pi * bins * time / n_fft
        basis = np.concatenate([np.cos(angle) * window, np.sin(angle) * window])
        self.register_buffer("dft", torch.from_numpy(basis).float()[:, None], False)

    def forward(self, audio: Tensor) -> Tensor:
        # Both ends are mirrored, by index: padding by reflection takes no sound under 200 samples.
        last = audio.shape[1] - 1
        at = torch.arange(-N_FFT // 2, last + 1 + N_FFT // 2).abs() % (2 * last)
        mirrored = audio[:, torch.minimum(at, 2 * last - at)]
        spectrum = nn.functional.conv1d(mirrored[:, None], self.dft, stride=HOP)
        return spectrum[:, : self.bins] ** 2 + spectrum[:, self.bins :] ** 2


class LogMel(nn.Module):
    """Samples [1, S] -> log-mel [1, n_mels, S // 160], S at least 160."""

    bank: Tensor

    def __init__(self, n_mels: int) -> None:
        super().__init__()
        self.power = Power()
        self.register_buffer("bank", torch.from_numpy(mel_filters(n_mels)).float(), False)

    def forward(self, audio: Tensor) -> Tensor:
        mel = torch.clamp(self.bank @ self.power(audio)[:, :, :-1], min=1e-10).log10()
        mel = torch.maximum(mel, mel.amax(dim=(1, 2), keepdim=True) - 8.0)
        return (mel + 4.0) / 4.0
