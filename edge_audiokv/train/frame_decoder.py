"""Whisper's text decoder read frame by frame: what would it say here, from the sound alone?

An autoregressive decoder asks for the next token; this one asks every 80 ms for the token at this
place, all places at once. The weights are those of Whisper's decoder (Radford et al. 2022,
arXiv:2212.04356): its cross-attention is kept near the place by a Gaussian that each head learns,
its self-attention sees the start token and near places instead of earlier tokens. Before any
training most words already stand first among 50 000; CTC then teaches when to say nothing. So rare
words come with what 680 000 hours taught Whisper, and not with what our few hours can.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

STACK = 4  # encoder frames (20 ms) in one place (80 ms)
REACH = 16  # places that self-attention sees to either side
NEIGHBOUR_BIAS = -4.0
WINDOW_FRAMES = 6.0

Weights = Mapping[str, npt.NDArray[np.generic]]


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[B, T, D] -> [B, H, T, D / H]."""
    b, t, d = x.shape
    return x.view(b, t, heads, d // heads).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    b, h, t, d = x.shape
    return x.transpose(1, 2).reshape(b, t, h * d)


class FrameDecoderLayer(nn.Module):
    """One decoder layer: near places and the start token, near frames, feed-forward."""

    def __init__(self, width: int = 384, heads: int = 6) -> None:
        super().__init__()
        self.heads = heads
        self.self_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.self_out = nn.Linear(width, width)
        self.start_key = nn.Parameter(torch.zeros(heads, width // heads))
        self.start_value = nn.Parameter(torch.zeros(heads, width // heads))
        bias = torch.full((heads, 2 * REACH + 1), NEIGHBOUR_BIAS)
        bias[:, REACH] = 0.0
        self.near_places = nn.Parameter(bias)
        self.cross_norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.cross_out = nn.Linear(width, width)
        self.log_window = nn.Parameter(torch.full((heads,), float(np.log(WINDOW_FRAMES))))
        self.shift_frames = nn.Parameter(torch.zeros(heads))
        self.ffn_norm = nn.LayerNorm(width)
        self.ffn_in = nn.Linear(width, 4 * width)
        self.ffn_out = nn.Linear(4 * width, width)

    def forward(
        self, x: Tensor, features: Tensor, places: Tensor, mask: Tensor | None, seen: Tensor | None
    ) -> Tensor:
        """x [B, T, D], features [B, 4T, D]; masks are true where there is sound."""
        x = x + self.self_out(self._among_places(self.self_norm(x), places, mask))
        x = x + self.cross_out(self._among_frames(self.cross_norm(x), features, places, seen))
        y: Tensor = self.ffn_out(F.gelu(self.ffn_in(self.ffn_norm(x))))
        return x + y

    def _among_places(self, y: Tensor, places: Tensor, mask: Tensor | None) -> Tensor:
        q, k, v = (split_heads(part, self.heads) for part in self.qkv(y).chunk(3, -1))
        scale = q.shape[-1] ** -0.5
        away = places[None, :] - places[:, None]
        bias = self.near_places[:, (away.clamp(-REACH, REACH) + REACH)]
        scores = (q * scale) @ k.transpose(-1, -2) + bias.to(q.dtype)
        allowed = (away.abs() <= REACH)[None, None]
        if mask is not None:
            allowed = allowed & mask
        scores = scores.masked_fill(~allowed, float("-inf"))
        start = (q * scale) @ self.start_key[None, :, :, None].to(q.dtype)
        weights = torch.cat([start, scores], -1).float().softmax(-1).to(v.dtype)
        out = weights[..., 1:] @ v + weights[..., :1] * self.start_value[None, :, None].to(v.dtype)
        return join_heads(out)

    def _among_frames(
        self, y: Tensor, features: Tensor, places: Tensor, seen: Tensor | None
    ) -> Tensor:
        q = split_heads(self.query(y), self.heads)
        k, v = (split_heads(part, self.heads) for part in self.key_value(features).chunk(2, -1))
        frames = torch.arange(features.shape[1], device=y.device)
        centre = places * STACK + (STACK - 1) / 2
        away = (frames[None, :] - centre[:, None])[None] - self.shift_frames[:, None, None]
        bias = -0.5 * (away * torch.exp(-self.log_window)[:, None, None]) ** 2
        scores = ((q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)).float() + bias
        if seen is not None:
            scores = scores.masked_fill(~seen, float("-inf"))
        return join_heads(scores.softmax(-1).to(v.dtype) @ v)


class FrameDecoder(nn.Module):
    """Features [B, 4T, 384] at 50 Hz -> hidden [B, T, 384] at 12.5 Hz, Whisper's output space."""

    def __init__(self, width: int = 384, heads: int = 6, layers: int = 4) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.zeros(width))
        self.content = nn.Linear(width * STACK, width)
        nn.init.zeros_(self.content.weight)
        nn.init.zeros_(self.content.bias)
        self.layers = nn.ModuleList(FrameDecoderLayer(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """`mask` [B, 1, 1, T] marks real places; None when nothing is padded."""
        b, t, d = features.shape
        places = torch.arange(t // STACK, device=features.device)
        seen = None if mask is None else mask.repeat_interleave(STACK, -1)
        x = self.start + self.content(features.reshape(b, t // STACK, d * STACK))
        for layer in self.layers:
            x = layer(x, features, places, mask, seen)
        hidden: Tensor = self.norm(x)
        return hidden

    def habits(self) -> list[nn.Parameter]:
        """Where heads look: what Whisper's decoder does not have."""
        return [
            p
            for layer in self.layers
            for p in (layer.near_places, layer.log_window, layer.shift_frames)
        ]

    def weights(self) -> list[nn.Parameter]:
        """All parameters but `habits`."""
        own = {id(p) for p in self.habits()}
        return [p for p in self.parameters() if id(p) not in own]

    @torch.no_grad()
    def read(self, weights: Weights, features: Tensor) -> None:
        """Take Whisper's decoder; `features` [T, 384] of a quiet sound set the start token."""

        def get(name: str) -> Tensor:
            return torch.from_numpy(np.asarray(weights[f"decoder/{name}"], dtype=np.float32))

        def fill(module: nn.Module, name: str, kinds: tuple[str, str] = ("weight", "bias")) -> None:
            for ours, theirs in zip(("weight", "bias"), kinds, strict=True):
                getattr(module, ours).copy_(get(f"{name}/{theirs}"))

        norm = ("gamma", "beta")
        token, positions = get("embeddings/weight"), get("position_encodings/encodings")
        prompt = torch.stack([token[START], token[NO_TIMES]]) + positions[:2]
        self.start.copy_(prompt[1])
        states = prompt[None]
        for i, layer in enumerate(self.layers):
            at = f"layer_{i}"
            fill(layer.self_norm, f"{at}/self_attention/layer_norm", norm)
            fill(layer.qkv, f"{at}/self_attention/linear_0")
            fill(layer.self_out, f"{at}/self_attention/linear_1")
            fill(layer.cross_norm, f"{at}/attention/layer_norm", norm)
            fill(layer.query, f"{at}/attention/linear_0")
            fill(layer.key_value, f"{at}/attention/linear_1")
            fill(layer.cross_out, f"{at}/attention/linear_2")
            fill(layer.ffn_norm, f"{at}/ffn/layer_norm", norm)
            fill(layer.ffn_in, f"{at}/ffn/linear_0")
            fill(layer.ffn_out, f"{at}/ffn/linear_1")
            # The prompt as Whisper itself runs it, for the start token's key and value.
            own = layer.qkv(layer.self_norm(states)).chunk(3, -1)
            q, k, v = (split_heads(part, layer.heads) for part in own)
            layer.start_key.copy_(k[0, :, 0])
            layer.start_value.copy_(v[0, :, 0])
            heard = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            states = states + layer.self_out(join_heads(heard))
            q = split_heads(layer.query(layer.cross_norm(states)), layer.heads)
            k, v = (
                split_heads(p, layer.heads) for p in layer.key_value(features[None]).chunk(2, -1)
            )
            states = states + layer.cross_out(join_heads(F.scaled_dot_product_attention(q, k, v)))
            states = states + layer.ffn_out(F.gelu(layer.ffn_in(layer.ffn_norm(states))))
        fill(self.norm, "layer_norm", norm)


START, NO_TIMES = 50257, 50362  # <|startoftranscript|>, <|notimestamps|> of the English models
