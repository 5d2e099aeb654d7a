"""Kaldi's log-mel front end as part of a graph: frames of 25 ms that lie in the sound.

In each frame high tones are raised, before Hamming's window; triangles are straight in mels. The
defaults are those of transformers' Phi4MultimodalFeatureExtractor.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from edge_audiokv.families.towers.mel import HOP, RATE_HZ

N_FFT, N_MELS, FRAME = 512, 80, 400
_RAISED = 0.97


def kaldi_filters(bottom_hz: float, top_hz: float) -> npt.NDArray[np.float64]:
    """Kaldi's filters [80, 257], triangles over mels."""

    def mels(hz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        made: npt.NDArray[np.float64] = 1127 * np.log(1 + hz / 700)
        return made

    bottom, top = mels(np.array([bottom_hz, top_hz]))
    edges = np.linspace(bottom, top, N_MELS + 2)
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

    def __init__(
        self,
        *,
        bottom_hz: float = 0.0,
        top_hz: float = 7690.0,
        full_scale: float = 32768.0,
        floor: float = 1.0,
        centred: bool = False,
    ) -> None:
        """`centred` takes each frame's mean from it; powers under `floor` count as that."""
        super().__init__()
        self.floor = floor
        time, bins = np.arange(FRAME), np.arange(N_FFT // 2 + 1)[:, None]
        window = 0.54 - 0.46 * np.cos(2 * np.pi * time / (FRAME - 1))
        angle = 2 * np.pi * bins * time / N_FFT
        basis = np.concatenate([np.cos(angle) * window, np.sin(angle) * window])
        # Raising is linear: each sample less a part of the one before, the first of itself.
        raised = basis.copy()
        raised[:, :-1] -= _RAISED * basis[:, 1:]
        raised[:, 0] -= _RAISED * basis[:, 0]
        if centred:  # so is this
            raised -= raised.mean(axis=1, keepdims=True)
        raised *= full_scale
        self.register_buffer("dft", torch.from_numpy(raised).float()[:, None], False)
        self.register_buffer(
            "bank", torch.from_numpy(kaldi_filters(bottom_hz, top_hz)).float(), False
        )

    def forward(self, audio: Tensor) -> Tensor:
        spectrum = nn.functional.conv1d(audio[:, None], self.dft, stride=HOP)
        half = N_FFT // 2 + 1
        power = spectrum[:, :half] ** 2 + spectrum[:, half:] ** 2
        return torch.clamp(self.bank @ power, min=self.floor).log().transpose(1, 2)
