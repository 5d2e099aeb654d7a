"""GLM-ASR: an encoder with rotary positions over whole windows of 30 s, four frames a row.

The silence that fills a window is looked at, as its makers run it; its rows are left out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from edge_audiokv.errors import ModelError
from edge_audiokv.families.checkpoint import Checkpoint
from edge_audiokv.families.language import plain
from edge_audiokv.families.plan import Plan, Sound
from edge_audiokv.families.towers.layers import Perceptron
from edge_audiokv.families.towers.mel import HOP, RATE_HZ, LogMel
from edge_audiokv.families.wording import from_chat_template

_TOWER = ("model.audio_tower.", "audio_tower.")
_PROJECTOR = ("model.multi_modal_projector.", "multi_modal_projector.")
_WINDOW_S = 30
_FRAMES = 4
_PLACEHOLDER = "<|pad|>"


class Attention(nn.Module):
    """Full attention; the first `turned` numbers of each head are turned by their position."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.o_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        b, t, width = x.shape
        q, k, v = (
            part(x).reshape(b, t, self.heads, self.size).transpose(1, 2)
            for part in (self.q_proj, self.k_proj, self.v_proj)
        )
        scores = (_turn(q, cos, sin) * self.size**-0.5) @ _turn(k, cos, sin).transpose(2, 3)
        out: Tensor = self.o_proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(b, t, width))
        return out


def _turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    turned = cos.shape[-1]
    part, rest = x[..., :turned], x[..., turned:]
    first, second = part.chunk(2, -1)
    return torch.cat([part * cos + torch.cat([-second, first], -1) * sin, rest], -1)


class Layer(nn.Module):
    """Attention and a feed-forward network, each behind a norm."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.self_attn = Attention(width, heads)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, inner), "fc2": nn.Linear(inner, width)})
        self.input_layernorm = nn.LayerNorm(width)
        self.post_attention_layernorm = nn.LayerNorm(width)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        inner = nn.functional.gelu(self.mlp["fc1"](self.post_attention_layernorm(x)))
        made: Tensor = x + self.mlp["fc2"](inner)
        return made


class Encoder(nn.Module):
    """Log-mel [1, bins, n] -> frames [1, n / 2, width]."""

    cos: Tensor
    sin: Tensor

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width, heads = config["hidden_size"], config["num_attention_heads"]
        self.conv1 = nn.Conv1d(config["num_mel_bins"], width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.layers = nn.ModuleList(
            Layer(width, heads, config["intermediate_size"])
            for _ in range(config["num_hidden_layers"])
        )
        self.norm = nn.LayerNorm(width)
        rope = config["rope_parameters"]
        turned = int(width // heads * rope.get("partial_rotary_factor", 1.0))
        rates = rope["rope_theta"] ** -(torch.arange(0, turned, 2) / turned)
        angle = torch.arange(_WINDOW_S * RATE_HZ // (2 * HOP))[:, None] * rates.repeat(2)[None]
        self.register_buffer("cos", angle.cos(), False)
        self.register_buffer("sin", angle.sin(), False)

    def forward(self, mel: Tensor) -> Tensor:
        x = nn.functional.gelu(self.conv2(nn.functional.gelu(self.conv1(mel)))).transpose(1, 2)
        for layer in self.layers:
            x = layer(x, self.cos, self.sin)
        normed: Tensor = self.norm(x)
        return normed


class Tower(nn.Module):
    """Samples [1, S] -> rows [1, S / 1280, out], S a multiple of 1280 up to 30 s."""

    def __init__(self, config: dict[str, Any], out: int) -> None:
        super().__init__()
        self.mel = LogMel(config["num_mel_bins"])
        self.audio_tower = Encoder(config)
        self.inner = config["intermediate_size"]
        self.multi_modal_projector = Perceptron(self.inner, 2 * out, out)

    def forward(self, audio: Tensor) -> Tensor:
        samples = _WINDOW_S * RATE_HZ
        rows = audio.shape[1] // (2 * _FRAMES * HOP)
        frames = self.audio_tower(self.mel(nn.functional.pad(audio, (0, samples))[:, :samples]))
        made: Tensor = self.multi_modal_projector(frames.reshape(1, -1, self.inner)[:, :rows])
        return made


def read(checkpoint: Checkpoint) -> Plan:
    """Raises ModelError for an encoder that no checkpoint of the family has."""
    config = checkpoint.config
    audio, text = config["audio_config"], config["text_config"]
    faults = {
        "hidden_act": audio.get("hidden_act", "gelu") != "gelu",
        "num_key_value_heads": audio["num_key_value_heads"] != audio["num_attention_heads"],
        "rope_parameters": audio["rope_parameters"].get("rope_type", "default") != "default",
        "intermediate_size": audio["intermediate_size"] != _FRAMES * audio["hidden_size"],
        "projector_hidden_act": config.get("projector_hidden_act", "gelu") != "gelu",
    }
    for name, wrong in faults.items():
        if wrong:
            raise ModelError(
                f"This GLM-ASR has another {name} than its makers' checkpoint.",
                cure="Take zai-org/GLM-ASR-Nano-2512.",
            )
    language = plain(checkpoint, text)

    def tower() -> nn.Module:
        made = Tower(audio, text["hidden_size"])
        checkpoint.fill(made.audio_tower, *_TOWER)
        checkpoint.fill(made.multi_modal_projector, *_PROJECTOR)
        return made

    return Plan(
        family="GLM-ASR",
        folder=checkpoint.folder,
        sound=Sound(tokens_per_second=RATE_HZ / (2 * _FRAMES * HOP), max_audio_s=_WINDOW_S),
        wording=from_chat_template(
            checkpoint.folder,
            [{"type": "audio"}, {"type": "text", "text": "{question}"}],
            "Please transcribe this audio into text",
            placeholder=_PLACEHOLDER,
        ),
        language=language,
        tower=tower,
        tower_count=checkpoint.count(*_TOWER, *_PROJECTOR),
        licences=dict.fromkeys(("encoder", "llm"), checkpoint.licence),
        notes=("Each window is computed as one of 30 s, as its makers run it.",),
    )
