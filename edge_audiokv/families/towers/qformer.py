"""Granite-Speech's projector: questions are put to each block of frames; their answers are rows.

Method: Li et al. 2023, arXiv:2301.12597, section 3.1 (Q-Former), without its text.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Heads(nn.Module):
    """Attention of x [B, T, width] to `seen` [B, F, seen_width]."""

    def __init__(self, width: int, heads: int, seen_width: int) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(seen_width, width)
        self.value = nn.Linear(seen_width, width)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        q, k, v = (
            made.reshape(made.shape[0], made.shape[1], self.heads, self.size).transpose(1, 2)
            for made in (self.query(x), self.key(seen), self.value(seen))
        )
        scores = (q * self.size**-0.5) @ k.transpose(2, 3)
        return (scores.softmax(-1) @ v).transpose(1, 2).reshape(x.shape)


class Joined(nn.Module):
    """A matrix whose result is added to what was there, and normed."""

    def __init__(self, inner: int, width: int, eps: float) -> None:
        super().__init__()
        self.dense = nn.Linear(inner, width)
        self.LayerNorm = nn.LayerNorm(width, eps=eps)

    def forward(self, made: Tensor, x: Tensor) -> Tensor:
        normed: Tensor = self.LayerNorm(self.dense(made) + x)
        return normed


class Attention(nn.Module):
    def __init__(self, config: dict[str, Any], seen_width: int) -> None:
        super().__init__()
        width = config["hidden_size"]
        self.attention = Heads(width, config["num_attention_heads"], seen_width)
        self.output = Joined(width, width, config["layer_norm_eps"])

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        made: Tensor = self.output(self.attention(x, seen), x)
        return made


class Layer(nn.Module):
    """Attention among the questions, in some layers to the frames, and a feed-forward network."""

    def __init__(self, config: dict[str, Any], number: int) -> None:
        super().__init__()
        width, inner = config["hidden_size"], config["intermediate_size"]
        self.attention = Attention(config, width)
        if number % config["cross_attention_frequency"] == 0:
            self.crossattention = Attention(config, config["encoder_hidden_size"])
        self.intermediate_query = nn.ModuleDict({"dense": nn.Linear(width, inner)})
        self.output_query = Joined(inner, width, config["layer_norm_eps"])

    def forward(self, x: Tensor, frames: Tensor) -> Tensor:
        x = self.attention(x, x)
        if hasattr(self, "crossattention"):
            x = self.crossattention(x, frames)
        inner = nn.functional.gelu(self.intermediate_query["dense"](x))
        made: Tensor = self.output_query(inner, x)
        return made


class Former(nn.Module):
    """Questions [B, Q, width], and frames [B, F, ...] that they are put to -> answers alike."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.layernorm = nn.LayerNorm(config["hidden_size"], eps=config["layer_norm_eps"])
        layers = nn.ModuleList(Layer(config, n) for n in range(config["num_hidden_layers"]))
        self.encoder = nn.ModuleDict({"layer": layers})

    def forward(self, questions: Tensor, frames: Tensor) -> Tensor:
        x = self.layernorm(questions)
        for layer in self.encoder["layer"]:
            x = layer(x, frames)
        return x


class Projector(nn.Module):
    """Frames [1, T, ...] -> rows [1, ceil(T / block) * questions, out]."""

    def __init__(self, config: dict[str, Any], block: int, questions: int, out: int) -> None:
        super().__init__()
        self.block = block
        self.query = nn.Parameter(torch.zeros(1, questions, config["hidden_size"]))
        self.qformer = Former(config)
        self.linear = nn.Linear(config["hidden_size"], out)

    def forward(self, frames: Tensor) -> Tensor:
        blocks = (frames.shape[1] + self.block - 1) // self.block
        padded = nn.functional.pad(frames, (0, 0, 0, self.block - 1))[:, : blocks * self.block]
        questions = self.query.expand(blocks, -1, -1)
        answers = self.qformer(questions, padded.reshape(blocks, self.block, frames.shape[2]))
        rows: Tensor = self.linear(answers)
        return rows.reshape(1, -1, rows.shape[2])
