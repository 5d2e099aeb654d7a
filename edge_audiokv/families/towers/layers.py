"""What the towers share: Whisper's encoder layer and stem, under the names of its checkpoints."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from edge_audiokv.errors import ModelError

# Added to the scores of frames that are padding.
HIDDEN = -1e9


class Attention(nn.Module):
    """Full attention within each sequence of a batch [B, T, width]."""

    def __init__(self, width: int, heads: int, *, key_bias: bool) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width, bias=key_bias)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        b, t, width = x.shape
        q, k, v = (
            part(x).reshape(b, t, self.heads, self.size).transpose(1, 2)
            for part in (self.q_proj, self.k_proj, self.v_proj)
        )
        scores = (q * self.size**-0.5) @ k.transpose(2, 3)
        if bias is not None:
            scores = scores + bias
        return self.out_proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(b, t, width))


class Layer(nn.Module):
    """Attention and a feed-forward network, each behind a norm. `bias` [B, 1, 1, T] or None."""

    def __init__(self, width: int, heads: int, inner: int, *, key_bias: bool) -> None:
        super().__init__()
        self.self_attn = Attention(width, heads, key_bias=key_bias)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        x = x + self.self_attn(self.self_attn_layer_norm(x), bias)
        return x + self.fc2(nn.functional.gelu(self.fc1(self.final_layer_norm(x))))


class Stem(nn.Module):
    """Whisper's two convolutions, its learned positions and its layers, with the last norm.

    Log-mel [1, bins, n] -> frames [1, ceil(n / 2), width], n at most twice the positions.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width = config["d_model"]
        self.conv1 = nn.Conv1d(config["num_mel_bins"], width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(config["max_source_positions"], width)
        self.layers = make_layers(config, key_bias=False)
        self.layer_norm = nn.LayerNorm(width)

    def forward(self, mel: Tensor, frames: int | None = None) -> Tensor:
        """With `frames` only the first of the convolutions' frames go on."""
        normed: Tensor = self.layer_norm(self.listened(mel, frames))
        return normed

    def listened(self, mel: Tensor, frames: int | None = None) -> Tensor:
        """What `forward` gives, before the last norm."""
        x = nn.functional.gelu(self.conv2(nn.functional.gelu(self.conv1(mel)))).transpose(1, 2)
        x = x if frames is None else x[:, :frames]
        x = x + self.embed_positions.weight[: x.shape[1]]
        for layer in self.layers:
            x = layer(x)
        return x


class Perceptron(nn.Module):
    """Two matrices with a GELU between, the projector of most families."""

    def __init__(self, width: int, inner: int, out: int, *, bias: bool = True) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(width, inner, bias=bias)
        self.linear_2 = nn.Linear(inner, out, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        rows: Tensor = self.linear_2(nn.functional.gelu(self.linear_1(x)))
        return rows


def whisper_names(config: dict[str, Any]) -> dict[str, Any]:
    """An encoder's configuration under Whisper's names, which some families have changed."""
    names = {
        "d_model": "hidden_size",
        "encoder_layers": "num_hidden_layers",
        "encoder_attention_heads": "num_attention_heads",
        "encoder_ffn_dim": "intermediate_size",
    }
    return {**config, **{whisper: config[name] for whisper, name in names.items()}}


def make_layers(config: dict[str, Any], *, key_bias: bool) -> nn.ModuleList:
    width, heads = config["d_model"], config["encoder_attention_heads"]
    inner = config["encoder_ffn_dim"]
    return nn.ModuleList(
        Layer(width, heads, inner, key_bias=key_bias) for _ in range(config["encoder_layers"])
    )


def positions(length: int, width: int) -> Tensor:
    """Sine and cosine positions [length, width], as Whisper's: halves, not interleaved."""
    rates = torch.exp(torch.arange(width // 2) * (-torch.log(torch.tensor(1e4)) / (width // 2 - 1)))
    angle = torch.arange(length)[:, None] * rates[None]
    return torch.cat([angle.sin(), angle.cos()], dim=1)


def check_tower(config: dict[str, Any]) -> None:
    """ModelError for a setting of an audio tower that no layer here computes."""
    wrong = [
        f"{name} = {config[name]!r}"
        for name, known in (("activation_function", "gelu"), ("scale_embedding", False))
        if config.get(name, known) != known
    ]
    if config["d_model"] % config["encoder_attention_heads"]:
        wrong.append("heads that do not divide its width")
    if wrong:
        raise ModelError(
            f"The audio tower has {wrong[0]}, which no known checkpoint of its family has.",
            cure="Take a checkpoint as its makers publish it.",
        )
