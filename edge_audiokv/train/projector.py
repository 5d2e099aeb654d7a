"""From encoder features to LLM embeddings, two ways that add up.

The projector turns features into embeddings that lie where the LLM's token embeddings lie; trained
through the LLM, it tells where in the sound it is and roughly what is said. The words that the
frame decoder believes are added as themselves, from the LLM's own table: a rare word arrives
however seldom it was trained on.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge_audiokv.train.frame_decoder import STACK, FrameDecoder
from edge_audiokv.train.whisper import LogMel, WhisperEncoder, attend

# Likeliest words of a place that the LLM reads.
LIKELIEST = 8


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


class Words(nn.Module):
    """What the frame decoder believes, in both vocabularies.

    Whisper's token embeddings (frozen) turn hidden states [B, T, 384] into logits of blank and C
    words [B, T, 1 + C]; the LLM's rows of the same words (frozen, centred, of low rank), weighted
    by belief, are what is added to the embeddings [B, T, 576].
    """

    def __init__(self, classes: int, width: int = 384, rank: int = 128, out: int = 576) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(classes, width), requires_grad=False)
        self.rows = nn.Parameter(torch.zeros(classes, rank), requires_grad=False)
        self.basis = nn.Parameter(torch.zeros(out, rank))
        self.blank = nn.Parameter(torch.zeros(1, width))
        self.bias = nn.Parameter(torch.zeros(classes + 1))
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(logits, rows to add, likeliest words [B, T, K], beliefs in them [B, T, K])."""
        scaled, kind = hidden * self.scale.to(hidden.dtype), hidden.dtype
        silent = F.linear(scaled, self.blank.to(kind))
        logits = torch.cat([silent, F.linear(scaled, self.table.to(kind))], -1)
        logits = logits + self.bias.to(kind)
        belief = logits.float().softmax(-1)
        likeliest, words = belief[..., 1:].topk(min(LIKELIEST, len(self.table)), dim=-1)
        believed = (likeliest[..., None, :] @ self.rows[words].float())[..., 0, :]
        return logits, F.linear(believed, self.basis), words, likeliest

    @torch.no_grad()
    def read(self, table: Tensor, rows: Tensor, contrast: float) -> None:
        """Take Whisper's rows [C, 384] and the LLM's [C, 576], centred, normalised to `contrast`
        and cut to this rank by principal components.
        """
        self.table.copy_(table)
        centred = F.normalize(rows - rows.mean(0), dim=-1) * contrast
        _, _, axes = torch.linalg.svd(centred, full_matrices=False)
        axes = axes[: self.basis.shape[1]]
        self.rows[:, : len(axes)] = centred @ axes.T
        self.basis[:, : len(axes)] = axes.T


@dataclass
class Heard:
    """What the audio model makes of sound, one row every 80 ms.

    logits [B, T, 1 + C] of blank and words; embeddings [B, T, 576], what the LLM reads; words
    [B, T, K], the likeliest of every row, and the beliefs [B, T, K] in them.
    """

    logits: Tensor
    embeddings: Tensor
    words: Tensor
    beliefs: Tensor


class AudioModel(nn.Module):
    """Samples or log-mel -> encoder features -> what was heard."""

    def __init__(
        self,
        encoder: WhisperEncoder,
        decoder: FrameDecoder,
        projector: Projector,
        words: Words,
        llm_width: int = 576,
    ) -> None:
        super().__init__()
        self.mel = LogMel()
        self.encoder = encoder
        self.decoder = decoder
        self.projector = projector
        self.words = words
        self.bridge = nn.Linear(llm_width, llm_width)

    def encode(self, mel: Tensor, tokens: Tensor | None = None) -> Tensor:
        """mel [B, 80, 8T], `tokens` [B] lengths in 80 ms tokens -> features [B, 4T, 384]."""
        features: Tensor = self.encoder(mel, _mask(tokens, mel.shape[2] // 2, STACK))
        return features

    def hear(self, features: Tensor, tokens: Tensor | None = None) -> Heard:
        """features [B, 4T, 384] -> one row for every 80 ms."""
        mask = _mask(tokens, features.shape[1] // STACK, 1)
        logits, rows, words, beliefs = self.words(self.decoder(features, mask))
        about: Tensor = self.bridge(rms(self.projector(features, mask)))
        return Heard(logits, about.float() + rows, words, beliefs)

    def start_bridge(self, mean_embedding: Tensor) -> None:
        """Begin where text embeddings lie: their mean plus 0.13 of the normalised hidden state."""
        with torch.no_grad():
            self.bridge.weight.copy_(0.13 * torch.eye(self.bridge.weight.shape[0]))
            self.bridge.bias.copy_(mean_embedding)


def _mask(tokens: Tensor | None, steps: int, steps_per_token: int) -> Tensor | None:
    if tokens is None:
        return None
    real = torch.arange(steps)[None] < steps_per_token * tokens[:, None]
    return real[:, None, None, :]
