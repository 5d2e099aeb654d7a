"""Fun-ASR-Nano: SAN-M over stacked frames of 60 ms, and a small encoder that leads to the LLM.

Method: Gao et al. 2020, arXiv:2006.01713 (SAN-M); the arithmetic of transformers' FunAsrNano.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edge_audiokv.errors import ModelError
from edge_audiokv.families.checkpoint import Checkpoint
from edge_audiokv.families.language import plain
from edge_audiokv.families.plan import Plan, Sound
from edge_audiokv.families.towers.mel import HOP, RATE_HZ
from edge_audiokv.families.towers.phi4_mel import N_MELS, FrameMel
from edge_audiokv.families.wording import from_chat_template, own_question

_TOWER = ("model.audio_tower.",)
_PROJECTOR = ("model.multi_modal_projector.",)
_STACKED, _STRIDE = 7, 6
_WINDOW_S = 30
_PLACEHOLDER = "<|object_ref_start|>"
# "Write the speech down:", as its makers ask.
_QUESTION = "\u8bed\u97f3\u8f6c\u5199\uff1a"


class Attention(nn.Module):
    """Full attention; with a `memory` the values of near rows are added to what it gives."""

    def __init__(self, given: int, width: int, heads: int, memory: int) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(given, width) for _ in range(3))
        self.o_proj = nn.Linear(width, width)
        if memory:
            conv = nn.Conv1d(width, width, memory, groups=width, bias=False)
            self.fsmn = nn.ModuleDict({"conv": conv})
            self.around = (memory - 1) // 2, memory - 1 - (memory - 1) // 2
        self.memory = memory

    def forward(self, x: Tensor) -> Tensor:
        _, t, _ = x.shape
        made = [part(x) for part in (self.q_proj, self.k_proj, self.v_proj)]
        q, k, v = (y.reshape(1, t, self.heads, self.size).transpose(1, 2) for y in made)
        scores = (q @ k.transpose(2, 3)) * self.size**-0.5
        out: Tensor = self.o_proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(1, t, -1))
        if not self.memory:
            return out
        near = self.fsmn["conv"](nn.functional.pad(made[2].transpose(1, 2), self.around))
        return out + near.transpose(1, 2) + made[2]


class Layer(nn.Module):
    """Attention and a feed-forward network, each behind a norm; `closes` adds one behind both."""

    def __init__(
        self, config: dict[str, Any], *, given: int = 0, memory: int = 0, closes: bool = False
    ) -> None:
        super().__init__()
        width, inner = config["hidden_size"], config["intermediate_size"]
        epsilon = config["layer_norm_eps"]
        self.grows = bool(given)
        given = given or width
        self.self_attn = Attention(given, width, config["num_attention_heads"], memory)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, inner), "fc2": nn.Linear(inner, width)})
        self.input_layernorm = nn.LayerNorm(given, eps=epsilon)
        self.post_attention_layernorm = nn.LayerNorm(width, eps=epsilon)
        if closes:
            self.final_layernorm = nn.LayerNorm(width, eps=epsilon)
        self.closes = closes

    def forward(self, x: Tensor) -> Tensor:
        heard = self.self_attn(self.input_layernorm(x))
        x = heard if self.grows else x + heard
        inner = nn.functional.relu(self.mlp["fc1"](self.post_attention_layernorm(x)))
        made: Tensor = x + self.mlp["fc2"](inner)
        return self.final_layernorm(made) if self.closes else made


class Encoder(nn.Module):
    """Stacked frames [1, T, 560] -> [1, T, width]."""

    places: Tensor

    def __init__(self, config: dict[str, Any], rows: int) -> None:
        super().__init__()
        count, given = config["num_hidden_layers"], _STACKED * N_MELS
        closing = count - config["num_timestamp_prediction_layers"] - 1, count - 1
        self.layers = nn.ModuleList(
            Layer(
                config,
                given=0 if at else given,
                memory=config["fsmn_kernel_size"],
                closes=at in closing,
            )
            for at in range(count)
        )
        self.scale = config["hidden_size"] ** 0.5
        rates = torch.exp(-np.log(10000) / (given // 2 - 1) * torch.arange(given // 2).float())
        # Counted from one.
        angle = torch.arange(1, rows + 1)[:, None] * rates[None]
        self.register_buffer("places", torch.cat([angle.sin(), angle.cos()], 1), False)

    def forward(self, x: Tensor) -> Tensor:
        x = x * self.scale + self.places[: x.shape[1]]
        for layer in self.layers:
            x = layer(x)
        return x


class Projector(nn.Module):
    """Rows [1, T, width] -> [1, T, out]."""

    def __init__(self, width: int, config: dict[str, Any]) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(width, config["projector_hidden_size"])
        self.linear_2 = nn.Linear(config["projector_hidden_size"], config["hidden_size"])
        self.layers = nn.ModuleList(Layer(config) for _ in range(config["num_hidden_layers"]))

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear_2(nn.functional.relu(self.linear_1(x)))
        for layer in self.layers:
            x = layer(x)
        return x


class Tower(nn.Module):
    """Samples [1, S] -> rows [1, S / 960, out], S a multiple of 960 up to 30 s."""

    def __init__(self, audio: dict[str, Any], adaptor: dict[str, Any]) -> None:
        super().__init__()
        self.mel = FrameMel(
            bottom_hz=20.0,
            top_hz=RATE_HZ / 2,
            full_scale=1.0,
            floor=float(np.finfo(np.float32).eps),
            centred=True,
        )
        self.audio_tower = Encoder(audio, _WINDOW_S * RATE_HZ // (_STRIDE * HOP))
        self.multi_modal_projector = Projector(audio["hidden_size"], adaptor)

    def forward(self, audio: Tensor) -> Tensor:
        mel = self.mel(audio)
        n = mel.shape[1]
        rows = (n + _STRIDE - 1) // _STRIDE
        # Frames around each sixth; the first and the last stand for those that are not there.
        at = torch.arange(rows)[:, None] * _STRIDE + torch.arange(_STACKED) - (_STACKED - 1) // 2
        at = torch.minimum(at.clamp(min=0), torch.as_tensor(n - 1)).reshape(-1)
        stacked = mel[:, at].reshape(1, -1, _STACKED * N_MELS)
        made: Tensor = self.multi_modal_projector(self.audio_tower(stacked))
        return made


def read(checkpoint: Checkpoint) -> Plan:
    """Raises ModelError for settings that no checkpoint of the family has."""
    config = checkpoint.config
    audio, adaptor = config["audio_config"], config["adaptor_config"]
    text = config["text_config"]
    faults = {
        "hidden_act": {audio["hidden_act"], adaptor["hidden_act"]} != {"relu"},
        "projector_hidden_act": adaptor["projector_hidden_act"] != "relu",
        "num_mel_bins": audio["num_mel_bins"] != N_MELS,
        "num_stacked_frames": audio["num_stacked_frames"] != _STACKED,
    }
    for name, wrong in faults.items():
        if wrong:
            raise ModelError(
                f"This Fun-ASR has another {name} than its makers' checkpoint.",
                cure="Take FunAudioLLM/Fun-ASR-Nano-2512-hf.",
            )
    language = plain(checkpoint, text)

    def tower() -> nn.Module:
        made = Tower(audio, adaptor)
        checkpoint.fill(made.audio_tower, *_TOWER)
        checkpoint.fill(made.multi_modal_projector, *_PROJECTOR)
        return made

    user = [{"type": "audio"}]
    question = own_question(checkpoint.folder, user, placeholder=_PLACEHOLDER)
    return Plan(
        family="Fun-ASR",
        folder=checkpoint.folder,
        sound=Sound(tokens_per_second=RATE_HZ / (_STRIDE * HOP), max_audio_s=_WINDOW_S),
        wording=from_chat_template(
            checkpoint.folder,
            [*user, {"type": "text", "text": "{question}"}],
            question or _QUESTION,
            placeholder=_PLACEHOLDER,
        ),
        language=language,
        tower=tower,
        tower_count=checkpoint.count(*_TOWER, *_PROJECTOR),
        licences=dict.fromkeys(("encoder", "llm"), checkpoint.licence),
    )
