"""Granite-Speech's encoder: a Conformer whose attention ends at the ends of blocks.

Method: Gulati et al. 2020, arXiv:2005.08100; distances of frames by Shaw et al. 2018,
arXiv:1803.02155, equation 4; in the middle, what it believes was said is added to the frames:
Nozaki and Komatsu 2021, arXiv:2104.02724.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from edge_audiokv.families.towers.layers import HIDDEN


class FeedForward(nn.Module):
    """A norm and two matrices with a SiLU between."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.pre_norm = nn.LayerNorm(width)
        self.up_proj = nn.Linear(width, inner)
        self.down_proj = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.down_proj(nn.functional.silu(self.up_proj(self.pre_norm(x))))
        return made


class Attention(nn.Module):
    """Attention within blocks of frames; a distance between two has a vector of its own."""

    distances: Tensor

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width, self.heads, self.size = config["hidden_dim"], config["num_heads"], config["dim_head"]
        self.block = config["context_size"]
        inner = self.heads * self.size
        self.pre_norm = nn.LayerNorm(width)
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_kv = nn.Linear(width, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, width)
        self.rel_pos_emb = nn.Embedding(2 * config["max_pos_emb"] + 1, self.size)
        at = torch.arange(self.block)
        self.register_buffer("distances", at[:, None] - at[None] + config["max_pos_emb"], False)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        blocks, frames = bias.shape[0], x.shape[1]
        padded = nn.functional.pad(self.pre_norm(x), (0, 0, 0, self.block - 1))
        padded = padded[:, : blocks * self.block]
        q, k, v = (
            part.reshape(blocks, self.block, self.heads, self.size).transpose(1, 2)
            for part in (self.to_q(padded), *self.to_kv(padded).chunk(2, -1))
        )
        places = torch.einsum("bhcd,crd->bhcr", q, self.rel_pos_emb(self.distances))
        scores = (q @ k.transpose(2, 3) + places) * self.size**-0.5 + bias
        heard = (scores.softmax(-1) @ v).transpose(1, 2).reshape(1, blocks * self.block, -1)
        made: Tensor = self.to_out(heard[:, :frames])
        return made


class Frozen(nn.Module):
    """Batch normalisation [1, width, T] by the mean and variance that were found in training."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = (nn.Parameter(torch.zeros(width)) for _ in range(2))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight / (self.running_var + 1e-5).sqrt()
        return (x - self.running_mean[:, None]) * scale[:, None] + self.bias[:, None]


class Convolution(nn.Module):
    """Neighbouring frames, each channel by itself, between two matrices."""

    def __init__(self, width: int, inner: int, kernel: int) -> None:
        super().__init__()
        # Of an even kernel one frame less is looked at on the right.
        self.sides = (kernel // 2, kernel // 2 - (kernel + 1) % 2)
        self.norm = nn.LayerNorm(width)
        # Convolutions over one frame are matrices, which int8 knows how to keep.
        self.up_conv = nn.Linear(width, 2 * inner)
        self.depth_conv = nn.ModuleDict(
            {"conv": nn.Conv1d(inner, inner, kernel, groups=inner, bias=False)}
        )
        self.batch_norm = Frozen(inner)
        self.down_conv = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        inner = nn.functional.glu(self.up_conv(self.norm(x)), -1).transpose(1, 2)
        inner = self.depth_conv["conv"](nn.functional.pad(inner, self.sides))
        inner = nn.functional.silu(self.batch_norm(inner)).transpose(1, 2)
        made: Tensor = self.down_conv(inner)
        return made


class Layer(nn.Module):
    """Attention and convolution between two halves of a feed-forward network."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width = config["hidden_dim"]
        self.ff1 = FeedForward(width, width * config["feedforward_mult"])
        self.attn = Attention(config)
        self.conv = Convolution(
            width, width * config["conv_expansion_factor"], config["conv_kernel_size"]
        )
        self.ff2 = FeedForward(width, width * config["feedforward_mult"])
        self.post_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        x = x + 0.5 * self.ff1(x)
        x = x + self.attn(x, bias)
        x = x + self.conv(x)
        normed: Tensor = self.post_norm(x + 0.5 * self.ff2(x))
        return normed


class Encoder(nn.Module):
    """Pairs of log-mel frames [1, T, 160] -> frames [1, T, out_width]."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width = config["hidden_dim"]
        self.block = config["context_size"]
        self.kept = tuple(config.get("cat_hidden_layers") or ())
        self.input_linear = nn.Linear(config["input_dim"], width)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config["num_layers"]))
        self.out = nn.Linear(width, config["output_dim"])
        self.out_mid = nn.Linear(config["output_dim"], width)
        self.out_width = width * (len({*self.kept}) + 1)

    def forward(self, mel: Tensor) -> Tensor:
        frames = mel.shape[1]
        blocks = (frames + self.block - 1) // self.block
        sounds = torch.arange(blocks * self.block).reshape(blocks, 1, 1, self.block) < frames
        bias = torch.where(sounds, 0.0, HIDDEN)
        x = self.input_linear(mel)
        kept = [x] if 0 in self.kept else []
        for number, layer in enumerate(self.layers, 1):
            x = layer(x, bias)
            if number == len(self.layers) // 2:
                x = x + self.out_mid(self.out(x).softmax(-1))
            if number in self.kept:
                kept.append(x)
        return torch.cat([*kept, x], -1) if kept else x
