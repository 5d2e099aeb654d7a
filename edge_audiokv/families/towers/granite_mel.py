"""Granite-Speech's log-mel front end as part of a graph: two frames of 10 ms on top of each other.

The values of transformers' GraniteSpeechFeatureExtractor, which is torchaudio's MelSpectrogram:
frames of 25 ms in transforms of 512, HTK's triangles without an equal area.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from edge_audiokv.families.towers.mel import RATE_HZ, Power

N_FFT, N_MELS = 512, 80


def htk_filters(n_mels: int) -> npt.NDArray[np.float64]:
    """HTK's triangular filters of equal height [n_mels, 257], 0 to 8 kHz."""
    top = 2595 * np.log10(1 + RATE_HZ / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0.0, top, n_mels + 2) / 2595) - 1)
    bins = np.linspace(0, RATE_HZ / 2, N_FFT // 2 + 1)
    widths = np.diff(edges)[:, None]
    rising = (bins - edges[:-2, None]) / widths[:-1]
    falling = (edges[2:, None] - bins) / widths[1:]
    bank: npt.NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling))
    return bank


class StackedMel(nn.Module):
    """Samples [1, S] -> pairs of frames [1, (S // 160 + 1) // 2, 160]."""

    bank: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.power = Power(N_FFT)
        self.register_buffer("bank", torch.from_numpy(htk_filters(N_MELS)).float(), False)

    def forward(self, audio: Tensor) -> Tensor:
        mel = torch.clamp(self.bank @ self.power(audio), min=1e-10).log10()
        # The loudest number may be in the frame that is left out below.
        mel = torch.maximum(mel, mel.amax(dim=(1, 2), keepdim=True) - 8.0) / 4.0 + 1.0
        pairs = mel.shape[2] // 2
        return mel[:, :, : 2 * pairs].transpose(1, 2).reshape(1, pairs, 2 * N_MELS)
