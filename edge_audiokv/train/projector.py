"""From what the frame decoder heard to LLM embeddings, and the CTC heads that teach both.

The hidden states lie in Whisper's output space; the projector carries them into the LLM's input
space. Both spaces have a word head whose matrix is frozen (Whisper's token embeddings there, the
LLM's own here), so that a place which says a word to Whisper's table says it to the LLM's as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge_audiokv.train.frame_decoder import STACK, FrameDecoder
from edge_audiokv.train.whisper import LogMel, WhisperEncoder


def rms(x: Tensor, weight: Tensor | None = None) -> Tensor:
    """RMS norm over the last axis, spelled out so that ONNX export needs no new operator."""
    y = x * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + 1e-6).to(x.dtype)
    return y if weight is None else y * weight.to(x.dtype)


class Projector(nn.Module):
    """Whisper's output space [.., 384] -> directions and embeddings of the LLM [.., 576]."""

    def __init__(self, width: int = 384, hidden: int = 2048, out: int = 576) -> None:
        super().__init__()
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, out)
        self.out = nn.Linear(out, out)

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        direction = rms(self.down(F.gelu(self.up(hidden))))
        return direction, self.out(direction)

    @torch.no_grad()
    def start_at(self, mean_embedding: Tensor) -> None:
        """Begin where text embeddings lie: their mean plus 0.13 of the direction."""
        self.out.weight.copy_(0.13 * torch.eye(self.out.weight.shape[0]))
        self.out.bias.copy_(mean_embedding)


@dataclass
class Heard:
    """What the audio model makes of sound, one row every 80 ms.

    hidden [B, T, 384] in Whisper's output space; direction [B, T, 576] in the LLM's, normalised;
    embeddings [B, T, 576], what the LLM reads.
    """

    hidden: Tensor
    direction: Tensor
    embeddings: Tensor


class AudioModel(nn.Module):
    """Samples or log-mel -> encoder features -> what was heard."""

    def __init__(
        self, encoder: WhisperEncoder, decoder: FrameDecoder, projector: Projector
    ) -> None:
        super().__init__()
        self.mel = LogMel()
        self.encoder = encoder
        self.decoder = decoder
        self.projector = projector

    def encode(self, mel: Tensor, tokens: Tensor | None = None) -> Tensor:
        """mel [B, 80, 8T], `tokens` [B] lengths in 80 ms tokens -> features [B, 4T, 384]."""
        features: Tensor = self.encoder(mel, _mask(tokens, mel.shape[2] // 2, STACK))
        return features

    def hear(self, features: Tensor, tokens: Tensor | None = None) -> Heard:
        """features [B, 4T, 384] -> one row for every 80 ms."""
        hidden = self.decoder(features, _mask(tokens, features.shape[1] // STACK, 1))
        return Heard(hidden, *self.projector(hidden))


def _mask(tokens: Tensor | None, steps: int, steps_per_token: int) -> Tensor | None:
    if tokens is None:
        return None
    real = torch.arange(steps)[None] < steps_per_token * tokens[:, None]
    return real[:, None, None, :]


class WordHead(nn.Module):
    """CTC logits over a frozen table of token embeddings [C, width]; class 0 is blank."""

    table: Tensor

    def __init__(self, table: Tensor, blank: Tensor, scale: float) -> None:
        super().__init__()
        self.register_buffer("table", table, False)
        self.blank = nn.Parameter(blank.reshape(1, -1).clone())
        self.bias = nn.Parameter(torch.zeros(len(table) + 1))
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, hidden: Tensor, subset: Tensor | None = None) -> Tensor:
        """hidden [B, T, width] -> [B, T, 1 + C]; `subset` lists classes (from 1, ascending)."""
        rows, bias = self.table, self.bias
        if subset is not None:
            rows, bias = rows[subset - 1], torch.cat([bias[:1], bias[subset]])
        weight = torch.cat([self.blank, rows]).to(hidden.dtype)
        return F.linear(hidden * self.scale.to(hidden.dtype), weight, bias.to(hidden.dtype))
