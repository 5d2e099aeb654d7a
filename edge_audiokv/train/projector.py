"""From what the frame decoder heard to LLM embeddings: words believed become words read.

Hidden states lie in Whisper's output space, so Whisper's own token embeddings (frozen) tell which
words a place may say. The LLM reads the same words from its own embedding table (frozen), weighted
by how far they are believed: a rare word arrives as itself, however seldom it was trained on. A
thin linear path beside it carries what words do not say.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge_audiokv.train.frame_decoder import STACK, FrameDecoder
from edge_audiokv.train.whisper import LogMel, WhisperEncoder

# Likeliest words of a place that the LLM reads.
LIKELIEST = 8


def rms(x: Tensor, weight: Tensor | None = None) -> Tensor:
    """RMS norm over the last axis."""
    y = x * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + 1e-6).to(x.dtype)
    return y if weight is None else y * weight.to(x.dtype)


class Projector(nn.Module):
    """Hidden [B, T, 384] -> logits of blank and C words [B, T, 1 + C], embeddings [B, T, 576].

    A row says its word; where nothing is said, the last word lingers. It also says, turned away by
    a learned matrix, which words came before: to go on writing, the LLM looks for the row whose
    last word it has just written. Without that it would have to count rows across pauses.
    """

    def __init__(self, classes: int, width: int = 384, out: int = 576) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(classes, width), requires_grad=False)
        self.rows = nn.Parameter(torch.zeros(classes, out), requires_grad=False)
        self.blank = nn.Parameter(torch.zeros(1, width))
        self.bias = nn.Parameter(torch.zeros(classes + 1))
        self.scale = nn.Parameter(torch.ones(1))
        self.nothing = nn.Parameter(torch.zeros(out))
        self.lingers = nn.Parameter(torch.full((1,), 0.3))
        self.before = nn.Linear(out, out, bias=False)
        nn.init.orthogonal_(self.before.weight, 0.4)
        self.beside = nn.Linear(width, out)
        nn.init.zeros_(self.beside.weight)
        nn.init.zeros_(self.beside.bias)

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        weight = torch.cat([self.blank, self.table]).to(hidden.dtype)
        logits = F.linear(hidden * self.scale.to(hidden.dtype), weight, self.bias.to(hidden.dtype))
        belief = logits.float().softmax(-1)
        likeliest, words = belief[..., 1:].topk(min(LIKELIEST, len(self.table)), dim=-1)
        read = (likeliest[..., None, :] @ self.rows[words].float())[..., 0, :]
        now, last, second = self._recent(belief.argmax(-1))
        silent = belief[..., :1] * (self.nothing + self.lingers * now)
        earlier = self.before(last + self.before(second))
        return logits, read + silent + earlier.float() + self.beside(hidden).float()

    def _recent(self, best: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rows [B, T, 576] of the latest word at each place and of the two words before it.

        `best` [B, T] are likeliest classes; a word begins where it differs from the place before,
        as CTC reads them. Nought where there is no such word.
        """
        steps = best.shape[1]
        places = torch.arange(steps, device=best.device)
        shifted = F.pad(best, (1, 0))[:, :steps]
        begins = (best > 0) & (best != shifted)
        stamps = torch.where(begins, places, torch.full_like(best, -1))
        so_far = places[None, :] <= places[:, None]
        at = torch.where(so_far, stamps[:, None, :], torch.full_like(stamps[:, None, :], -1))
        newest = at.amax(-1)
        # `earlier[i + 1]` is the latest beginning up to place i; there is none before the first.
        earlier = F.pad(newest, (1, 0), value=-1)
        second = earlier.gather(1, newest.clamp(min=0))
        third = earlier.gather(1, second.clamp(min=0))
        third = torch.where(second < 0, second, third)
        found = []
        for place in (newest, torch.where(newest < 0, newest, second), third):
            word = best.gather(1, place.clamp(min=0)).clamp(min=1) - 1
            found.append(self.rows[word].float() * (place >= 0)[..., None])
        return found[0], found[1], found[2]


@dataclass
class Heard:
    """What the audio model makes of sound, one row every 80 ms.

    logits [B, T, 1 + C] of blank and words; embeddings [B, T, 576], what the LLM reads.
    """

    logits: Tensor
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
        return Heard(*self.projector(hidden))


def _mask(tokens: Tensor | None, steps: int, steps_per_token: int) -> Tensor | None:
    if tokens is None:
        return None
    real = torch.arange(steps)[None] < steps_per_token * tokens[:, None]
    return real[:, None, None, :]
