"""Phi-4-multimodal's log-mel front end as part of a graph: frames of 25 ms that lie in the sound.

The values of transformers' Phi4MultimodalFeatureExtractor: in each frame high tones are raised,
before Hamming's window; Kaldi's triangles, straight in mels, up to 7690 Hz.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from edge_audiokv.families.towers.mel import HOP, RATE_HZ

N_FFT, N_MELS, FRAME = 512, 80, 400
_TOP_HZ, _RAISED, _FULL_SCALE = 7690, 0.97, 32768


def kaldi_filters() -> npt.NDArray[np.float64]:
    """Kaldi's filters [80, 257], triangles over mels."""

    def mels(hz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        made: npt.NDArray[np.float64] = 1127 * np.log(1 + hz / 700)
        return made

    edges = np.linspace(0, mels(np.array([float(_TOP_HZ)]))[0], N_MELS + 2)
    bins = mels(np.arange(N_FFT // 2 + 1) * RATE_HZ / N_FFT)
    widths = np.diff(edges)[:, None]
    rising = (bins - edges[:-2, None]) / widths[:-1]
    falling = (edges[2:, None] - bins) / widths[1:]
    bank: npt.NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling))
    return bank


class FrameMel(nn.Module):
    """Samples [1, S] -> log-mel [1, (S - 400) // 160 + 1, 80], S at least 400."""

    dft: Tensor
    bank: Tensor

    def __init__(self) -> None:
        super().__init__()
        time, bins = np.arange(FRAME), np.arange(N_FFT // 2 + 1)[:, None]
        window = 0.54 - 0.46 * np.cos(2 * np.pi * time / (FRAME - 1))
        angle = 2 * np.pi * bins * time / N_FFT
        basis = np.concatenate([np.cos(angle) * window, np.sin(angle) * window])
        # Raising is linear: each sample less a part of the one before, the first of itself.
        raised = basis.copy()
        raised[:, :-1] -= _RAISED * basis[:, 1:]
        raised[:, 0] -= _RAISED * basis[:, 0]
        raised *= _FULL_SCALE
        self.register_buffer("dft", torch.from_numpy(raised).float()[:, None], False)
        self.register_buffer("bank", torch.from_numpy(kaldi_filters()).float(), False)

    def forward(self, audio: Tensor) -> Tensor:
        spectrum = nn.functional.conv1d(audio[:, None], self.dft, stride=HOP)
        half = N_FFT // 2 + 1
        power = spectrum[:, :half] ** 2 + spectrum[:, half:] ** 2
        return torch.clamp(self.bank @ power, min=1.0).log().transpose(1, 2)
