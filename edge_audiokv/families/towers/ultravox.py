"""Ultravox: Whisper's encoder without padding, eight frames a row, over a frozen LLM.

Its model is remote code; what is here is written from its configuration. The checkpoint holds the
projector and, from v0.5 on, the encoder; the LLM is another folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edge_audiokv.errors import InputError, ModelError
from edge_audiokv.families.checkpoint import Checkpoint
from edge_audiokv.families.language import ALONE, INSIDE, plain
from edge_audiokv.families.plan import Plan, Sound
from edge_audiokv.families.towers.layers import Stem, check_tower
from edge_audiokv.families.towers.mel import LogMel
from edge_audiokv.families.wording import from_chat_template

_TOWER, _PROJECTOR = "audio_tower.", "multi_modal_projector."
_FRAME_S = 0.02
_POSITIONS_S = 30.0
_HEAD_SIZE = 64
_QUESTION = "Transcribe the audio."


class Norm(nn.Module):
    """RMS norm with a scale."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


class Projector(nn.Module):
    """Frames [1, n, width] -> rows [1, ceil(n / stack), out]; the end is padded with zeros.

    `middle` says where the second norm is: between the two matrices (v0.5), or after them.
    """

    def __init__(self, width: int, stack: int, inner: int, out: int, *, middle: bool) -> None:
        super().__init__()
        self.stack = stack
        self.ln_pre = Norm(width * stack)
        self.linear_1 = nn.Linear(width * stack, inner, bias=False)
        self.linear_2 = nn.Linear(inner // 2, out, bias=False)
        self.ln_mid = Norm(inner // 2) if middle else nn.Identity()
        self.ln_post = nn.Identity() if middle else Norm(out)

    def forward(self, x: Tensor) -> Tensor:
        rows = (x.shape[1] + self.stack - 1) // self.stack
        x = nn.functional.pad(x, (0, 0, 0, self.stack - 1))[:, : rows * self.stack]
        x = self.linear_1(self.ln_pre(x.reshape(1, rows, -1)))
        value, gate = x.chunk(2, -1)
        made: Tensor = self.ln_post(self.linear_2(self.ln_mid(nn.functional.silu(gate) * value)))
        return made


class Tower(nn.Module):
    """Samples [1, S] -> rows [1, ceil(S / 2560), out] for eight frames a row, S under 30 s."""

    def __init__(self, encoder: dict[str, Any], projector: Projector) -> None:
        super().__init__()
        self.mel = LogMel(encoder["num_mel_bins"])
        self.audio_tower = Stem(encoder)
        self.multi_modal_projector = projector

    def forward(self, audio: Tensor) -> Tensor:
        rows: Tensor = self.multi_modal_projector(self.audio_tower(self.mel(audio)))
        return rows


def read(checkpoint: Checkpoint, llm: Path | None = None, whisper: Path | None = None) -> Plan:
    """Raises InputError if the LLM or the encoder lies in a folder that is not given."""
    config = checkpoint.raw
    _check(config)
    inside = bool(checkpoint.under(*(old for old, _ in INSIDE)))
    if llm is None and not inside:
        raise InputError(
            f"{checkpoint.folder} holds no LLM.",
            cure=f"It names {config.get('text_model_id') or 'none'}: give that, or its folder, as"
            " --llm FOLDER.",
        )
    text = Checkpoint(llm) if llm else checkpoint
    text_config = text.config if llm else config.get("text_config") or {}
    language = plain(text, text_config, ALONE if llm else INSIDE)
    source, prefix, encoder = _encoder(checkpoint, whisper)
    check_tower(encoder)
    stack = int(config.get("stack_factor", 8))
    out = int(language.config["hidden_size"])
    inner = int(config.get("hidden_size", 4096))

    def tower() -> nn.Module:
        middle = bool(config.get("projector_ln_mid", False))
        projector = Projector(encoder["d_model"], stack, inner, out, middle=middle)
        made = Tower(encoder, projector)
        source.fill(made.audio_tower, prefix)
        checkpoint.fill(projector, _PROJECTOR)
        return made

    row_s = _FRAME_S * stack
    licences = {"encoder": checkpoint.licence, "llm": text.licence}
    return Plan(
        family="Ultravox",
        folder=checkpoint.folder,
        sound=Sound(
            tokens_per_second=1 / row_s,
            max_audio_s=round(int(_POSITIONS_S / row_s) * row_s, 6),
            token_rule="blocks",
            block_s=row_s,
        ),
        wording=from_chat_template(text.folder, "{audio}\n{question}", _QUESTION),
        language=language,
        tower=tower,
        tower_count=source.count(prefix) + checkpoint.count(_PROJECTOR),
        licences=licences,
        others=(source.folder,),
    )


def _encoder(
    checkpoint: Checkpoint, whisper: Path | None
) -> tuple[Checkpoint, str, dict[str, Any]]:
    """Where the encoder's weights are, what their names begin with, and its configuration."""
    from transformers import WhisperConfig

    given = checkpoint.raw.get("audio_config")
    if checkpoint.under(_TOWER):
        if whisper is not None:
            raise InputError(
                f"{checkpoint.folder} holds an encoder of its own.", cure="Leave --whisper out."
            )
        config = WhisperConfig(**given).to_dict() if given else _by_shapes(checkpoint)
        return checkpoint, _TOWER, config
    if whisper is None:
        raise InputError(
            f"{checkpoint.folder} holds no encoder.",
            cure=f"It names {checkpoint.raw.get('audio_model_id') or 'none'}: give that, or its"
            " folder, as --whisper FOLDER.",
        )
    source = Checkpoint(whisper)
    return source, "model.encoder.", source.config


def _by_shapes(checkpoint: Checkpoint) -> dict[str, Any]:
    """The encoder of a checkpoint that only names its Whisper; heads of all of them have 64."""
    names = checkpoint.under(_TOWER)
    wanted = ("conv1.weight", "embed_positions.weight", "layers.0.fc1.weight")
    if not all(name in names for name in wanted):
        raise ModelError(
            f"{checkpoint.folder} holds half an encoder.", cure="Download it again, whole."
        )
    conv, places, inner = (checkpoint.tensors[names[name]].shape for name in wanted)
    return {
        "num_mel_bins": conv[1],
        "d_model": conv[0],
        "max_source_positions": places[0],
        "encoder_ffn_dim": inner[0],
        "encoder_layers": 1 + max(int(n.split(".")[1]) for n in names if n.startswith("layers.")),
        "encoder_attention_heads": conv[0] // _HEAD_SIZE,
    }


def _check(config: dict[str, Any]) -> None:
    adapted = [
        name
        for name in ("text_model_lora_config", "audio_model_lora_config")
        if (config.get(name) or {}).get("r")
    ]
    faults = {
        "audio_latency_block_size": config.get("audio_latency_block_size") is not None,
        "projector_act": config.get("projector_act", "swiglu") != "swiglu",
        **dict.fromkeys(adapted, True),
    }
    for name, wrong in faults.items():
        if wrong:
            raise ModelError(
                f"This Ultravox sets {name}, which is not converted exactly.",
                cure="Take one of the v0.4 to v0.6 checkpoints as published.",
            )
