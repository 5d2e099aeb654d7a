"""Phi-4-multimodal's encoder: frames of 80 ms, and a Conformer that knows how far they are apart.

Method: Gulati et al. 2020, arXiv:2005.08100, with convolutions that look back alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Mlp(nn.Module):
    """A gated feed-forward network behind a norm."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(width)
        self.gate_up_proj = nn.Linear(width, 2 * inner)
        self.down_proj = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.gate_up_proj(self.layer_norm(x)).chunk(2, -1)
        made: Tensor = self.down_proj(value * nn.functional.silu(gate))
        return made


class Attention(nn.Module):
    """Full attention; `bias` [1, heads, T, T] is of the distance."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.o_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        b, t, width = x.shape
        q, k, v = (
            part(x).reshape(b, t, self.heads, self.size).transpose(1, 2)
            for part in (self.q_proj, self.k_proj, self.v_proj)
        )
        scores = (q * self.size**-0.5) @ k.transpose(2, 3) + bias
        made: Tensor = self.o_proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(b, t, width))
        return made


class Gate(nn.Module):
    """A matrix whose half lets the other through, each with numbers of its own added."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.ext_pw_conv_1d = nn.Linear(width, 2 * out)
        self.b1, self.b2 = (nn.Parameter(torch.zeros(1, out, 1)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.ext_pw_conv_1d(x).chunk(2, -1)
        opened = nn.functional.silu(gate + self.b2.transpose(1, 2))
        return (value + self.b1.transpose(1, 2)) * opened


class Convolution(nn.Module):
    """Frames before, each channel by itself, between matrices."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width, kernel = config["hidden_size"], config["kernel_size"]
        inner = width * config["depthwise_multiplier"]
        self.before = kernel - 1
        self.layer_norm = nn.LayerNorm(width)
        self.glu = Gate(width, config["ext_pw_out_channel"])
        self.dw_sep_conv_1d = nn.ModuleDict(
            {
                "dw_conv": nn.Conv1d(width, inner, kernel, groups=width),
                "pw_conv": nn.Linear(inner, config["depthwise_separable_out_channel"]),
            }
        )
        self.ext_pw_conv_1d = nn.Linear(width, config["ext_pw_out_channel"])

    def forward(self, x: Tensor) -> Tensor:
        inner = nn.functional.pad(self.glu(self.layer_norm(x)).transpose(1, 2), (self.before, 0))
        apart = self.dw_sep_conv_1d["dw_conv"](inner).transpose(1, 2)
        together = nn.functional.silu(self.dw_sep_conv_1d["pw_conv"](apart))
        made: Tensor = self.ext_pw_conv_1d(together)
        return made


class Layer(nn.Module):
    """Attention and convolution between two halves of a feed-forward network."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width, inner = config["hidden_size"], config["intermediate_size"]
        self.feed_forward_in = Mlp(width, inner)
        self.self_attn = Attention(width, config["num_attention_heads"])
        self.conv = Convolution(config)
        self.feed_forward_out = Mlp(width, inner)
        self.layer_norm_att = nn.LayerNorm(width)
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        x = x + 0.5 * self.feed_forward_in(x)
        x = x + self.self_attn(self.layer_norm_att(x), bias)
        x = x + self.conv(x)
        normed: Tensor = self.layer_norm(x + 0.5 * self.feed_forward_out(x))
        return normed


class Scale(nn.Module):
    """Each bin less its mean in training, times a number."""

    global_mean: Tensor
    global_invstd: Tensor

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.register_buffer("global_mean", torch.zeros(bins))
        self.register_buffer("global_invstd", torch.ones(bins))

    def forward(self, mel: Tensor) -> Tensor:
        return (mel - self.global_mean) * self.global_invstd


class Shrink(nn.Module):
    """Log-mel [1, n, bins] -> frames [1, ceil(n / 8), width]."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        inner, bins = config["nemo_conv_channels"], config["input_size"]
        layers: list[nn.Module] = [nn.Conv2d(1, inner, 3, 2, padding=1), nn.ReLU()]
        for _ in range(2):
            layers.append(nn.Conv2d(inner, inner, 3, 2, padding=1, groups=inner))
            layers += [nn.Conv2d(inner, inner, 1), nn.ReLU()]
        self.conv = nn.Sequential(*layers)
        for _ in range(3):
            bins = (bins - 1) // 2 + 1
        self.out = nn.Linear(inner * bins, config["hidden_size"])

    def forward(self, mel: Tensor) -> Tensor:
        x = self.conv(mel[:, None])
        made: Tensor = self.out(x.transpose(1, 2).flatten(2))
        return made


class Encoder(nn.Module):
    """Log-mel [1, n, bins] -> frames [1, ceil(n / 8), width]."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.far = config["bias_max_distance"]
        self.encoder_embedding = Scale(config["input_size"])
        self.embed = Shrink(config)
        self.relative_attention_bias_layer = nn.ModuleDict(
            {"bias_values": nn.Embedding(2 * self.far, config["num_attention_heads"])}
        )
        self.encoders = nn.ModuleList(Layer(config) for _ in range(config["num_blocks"]))

    def forward(self, mel: Tensor) -> Tensor:
        x = self.embed(self.encoder_embedding(mel))
        at = torch.arange(x.shape[1])
        apart = (at[None] - at[:, None]).clamp(-self.far, self.far - 1) + self.far
        values = self.relative_attention_bias_layer["bias_values"](apart)
        bias = values.permute(2, 0, 1)[None]
        for layer in self.encoders:
            x = layer(x, bias)
        return x
