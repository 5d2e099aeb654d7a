"""From encoder features to LLM embeddings, and the CTC heads that teach the way there.

The word-piece head's output matrix is the LLM's own embedding table (centred, normalised, frozen)
plus a trainable low-rank correction, so that hidden states come to lie where the LLM's tokens lie
and near synonyms can still be told apart. The letter head listens to the encoder at 50 Hz.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge_audiokv.train.whisper import LogMel, WhisperEncoder, attend

LETTERS = " abcdefghijklmnopqrstuvwxyz'"
STACK = 4


def rms(x: Tensor, weight: Tensor | None = None) -> Tensor:
    """RMS norm over the last axis, spelled out so that ONNX export needs no new operator."""
    y = x * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + 1e-6).to(x.dtype)
    return y if weight is None else y * weight.to(x.dtype)


class RMSNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return rms(x, self.weight)


class ProjectorBlock(nn.Module):
    """Depthwise convolution, attention and SwiGLU, each with its own residual."""

    def __init__(self, width: int, heads: int, hidden: int, kernel: int = 7) -> None:
        super().__init__()
        self.heads = heads
        self.conv_norm = RMSNorm(width)
        self.depthwise = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.pointwise = nn.Linear(width, width)
        self.attention_norm = RMSNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.attention_out = nn.Linear(width, width, bias=False)
        self.ffn_norm = RMSNorm(width)
        self.gate_up = nn.Linear(width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        b, t, d = x.shape
        y = self.conv_norm(x)
        if mask is not None:
            y = y * mask[:, 0, 0, :, None].to(y.dtype)
        x = x + self.pointwise(F.silu(self.depthwise(y.transpose(1, 2)).transpose(1, 2)))
        q, k, v = (
            self.qkv(self.attention_norm(x))
            .view(b, t, 3, self.heads, d // self.heads)
            .permute(2, 0, 3, 1, 4)
        )
        y = attend(q, k, v, mask)
        x = x + self.attention_out(y.transpose(1, 2).reshape(b, t, d))
        gate, up = self.gate_up(self.ffn_norm(x)).chunk(2, -1)
        y = self.down(F.silu(gate) * up)
        return x + y


class Projector(nn.Module):
    """Features [B, 4T, 384] at 50 Hz -> hidden [B, T, 576] at 12.5 Hz."""

    def __init__(
        self, features: int = 384, width: int = 512, blocks: int = 2, out: int = 576
    ) -> None:
        super().__init__()
        self.norm_in = nn.LayerNorm(features)
        self.stack = nn.Linear(features * STACK, width)
        self.blocks = nn.ModuleList(ProjectorBlock(width, 8, 2 * width) for _ in range(blocks))
        self.norm_out = RMSNorm(width)
        self.out = nn.Linear(width, out)

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """`mask` [B, 1, 1, T] marks real tokens; None when nothing is padded."""
        b, t, d = features.shape
        x = self.stack(self.norm_in(features).reshape(b, t // STACK, d * STACK))
        for block in self.blocks:
            x = block(x, mask)
        hidden: Tensor = self.out(self.norm_out(x))
        return hidden


def _mask(tokens: Tensor | None, steps: int, steps_per_token: int) -> Tensor | None:
    if tokens is None:
        return None
    real = torch.arange(steps)[None] < steps_per_token * tokens[:, None]
    return real[:, None, None, :]


class AudioModel(nn.Module):
    """Samples or log-mel -> (encoder features, projector hidden, LLM embeddings)."""

    def __init__(self, encoder: WhisperEncoder, projector: Projector, llm_width: int = 576) -> None:
        super().__init__()
        self.mel = LogMel()
        self.encoder = encoder
        self.projector = projector
        self.bridge = nn.Linear(llm_width, llm_width)

    def encode(self, mel: Tensor, tokens: Tensor | None = None) -> Tensor:
        """mel [B, 80, 8T], `tokens` [B] lengths in 80 ms tokens -> features [B, 4T, 384]."""
        features: Tensor = self.encoder(mel, _mask(tokens, mel.shape[2] // 2, STACK))
        return features

    def project(self, features: Tensor, tokens: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """features [B, 4T, 384] -> hidden [B, T, 576] and LLM embeddings [B, T, 576]."""
        hidden = self.projector(features, _mask(tokens, features.shape[1] // STACK, 1))
        return hidden, self.bridge(rms(hidden))

    def start_bridge(self, mean_embedding: Tensor) -> None:
        """Begin where text embeddings lie: their mean plus 0.13 of the normalised hidden state."""
        with torch.no_grad():
            self.bridge.weight.copy_(0.13 * torch.eye(self.bridge.weight.shape[0]))
            self.bridge.bias.copy_(mean_embedding)


class PieceHead(nn.Module):
    """CTC logits over the LLM's word pieces; class 0 is blank."""

    table: Tensor
    mean: Tensor

    def __init__(self, embeddings: Tensor, pieces: list[int], rank: int = 64) -> None:
        super().__init__()
        rows = embeddings[pieces].float()
        mean = rows.mean(0)
        rows = rows - mean
        self.register_buffer("mean", mean, False)
        self.register_buffer("table", rows / rows.norm(dim=-1, keepdim=True), False)
        width = rows.shape[1]
        self.blank = nn.Parameter(torch.randn(1, width) * 0.04)
        self.bias = nn.Parameter(torch.zeros(len(pieces) + 1))
        self.scale = nn.Parameter(torch.tensor(3.0))
        self.delta_in = nn.Parameter(torch.randn(rank, width) / width**0.5)
        self.delta_out = nn.Parameter(torch.zeros(len(pieces), rank))

    def forward(self, hidden: Tensor, subset: Tensor | None = None) -> Tensor:
        """hidden [B, T, d] -> [B, T, 1 + classes]; `subset` lists classes (from 1, ascending)."""
        rows, delta, bias = self.table, self.delta_out, self.bias
        if subset is not None:
            rows, delta = rows[subset - 1], delta[subset - 1]
            bias = torch.cat([bias[:1], bias[subset]])
        weight = torch.cat([self.blank, rows + delta @ self.delta_in]).to(hidden.dtype)
        return F.linear(hidden * self.scale.to(hidden.dtype), weight, bias.to(hidden.dtype))


class LetterHead(nn.Module):
    """CTC logits over letters at 50 Hz: [B, 4T, 384] -> [B, 4T, 29]; class 0 is blank."""

    def __init__(self, features: int = 384) -> None:
        super().__init__()
        self.out = nn.Linear(features, len(LETTERS) + 1)

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.out(features)
        return logits
