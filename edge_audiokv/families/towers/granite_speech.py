"""Granite-Speech 3 and 4: a Conformer, three rows of each 0.3 s, and an adapter for sound.

The older ones keep that adapter apart from their LLM and use it only where there is sound. Here
every prompt has some, so it is merged.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from edge_audiokv.errors import ModelError
from edge_audiokv.families.checkpoint import Checkpoint
from edge_audiokv.families.language import plain
from edge_audiokv.families.plan import Plan, Sound, Wording
from edge_audiokv.families.towers.conformer import Encoder
from edge_audiokv.families.towers.granite_mel import N_MELS, StackedMel
from edge_audiokv.families.towers.mel import HOP, RATE_HZ
from edge_audiokv.families.towers.qformer import Projector
from edge_audiokv.families.wording import from_chat_template

_TOWER = ("model.encoder.", "encoder.")
_PROJECTOR = ("model.projector.", "projector.")
_MOST_S = 30
_PLACEHOLDER = "<|audio|>"
_MERGED = (
    "Its adapter for sound is merged into its LLM: text without sound would be read by that, too."
)


class Tower(nn.Module):
    """Samples [1, S] -> rows [1, T, out], `questions` for each begun block."""

    def __init__(self, config: dict[str, Any], out: int) -> None:
        super().__init__()
        block = config["window_size"]
        self.mel = StackedMel()
        self.audio_tower = Encoder(config["encoder_config"])
        self.projector = Projector(
            config["projector_config"], block, block // config["downsample_rate"], out
        )

    def forward(self, audio: Tensor) -> Tensor:
        rows: Tensor = self.projector(self.audio_tower(self.mel(audio)))
        return rows


def read(checkpoint: Checkpoint) -> Plan:
    """Raises ModelError for a tower that no checkpoint of the family has, or half a checkpoint."""
    config = checkpoint.config
    encoder, text = config["encoder_config"], config["text_config"]
    _check(config)
    language = plain(checkpoint, text)
    if language.adapter is None and config.get("has_lora_adapter", True):
        raise ModelError(
            f"{checkpoint.folder} lacks its adapter for sound, which its config.json names.",
            cure="Download adapter_config.json and adapter_model.safetensors of it, too.",
        )
    block_s = 2 * config["window_size"] * HOP / RATE_HZ
    questions = config["window_size"] // config["downsample_rate"]

    def tower() -> nn.Module:
        made = Tower(config, text["hidden_size"])
        checkpoint.fill(made.audio_tower, *_TOWER)
        checkpoint.fill(made.projector, *_PROJECTOR)
        return made

    version = "Granite-Speech Plus" if encoder.get("cat_hidden_layers") else "Granite-Speech"
    return Plan(
        family=version,
        folder=checkpoint.folder,
        sound=Sound(
            tokens_per_second=questions / block_s,
            max_audio_s=int(_MOST_S / block_s) * block_s,
            token_rule="blocks",
            block_s=block_s,
        ),
        wording=_wording(checkpoint, translates=not encoder.get("cat_hidden_layers")),
        language=language,
        tower=tower,
        tower_count=checkpoint.count(*_TOWER, *_PROJECTOR),
        licences=dict.fromkeys(("encoder", "llm"), checkpoint.licence),
        notes=(_MERGED,) if language.adapter is not None else (),
    )


def _check(config: dict[str, Any]) -> None:
    encoder, projector = config["encoder_config"], config["projector_config"]
    text = config["text_config"]
    width, heads = text["hidden_size"], text["num_attention_heads"]
    faults = {
        "encoder_config.input_dim": encoder["input_dim"] != 2 * N_MELS,
        "encoder_config.context_size": not 0 < encoder["context_size"] <= encoder["max_pos_emb"],
        "projector_config.model_type": projector["model_type"] != "blip_2_qformer",
        "projector_config.hidden_act": projector["hidden_act"] != "gelu",
        "window_size": config["window_size"] % config["downsample_rate"] != 0,
        # llama.cpp has no other for this architecture.
        "text_config.head_dim": (text.get("head_dim") or width // heads) != width // heads,
    }
    for name, wrong in faults.items():
        if wrong:
            raise ModelError(
                f"This Granite-Speech has another {name} than its makers' checkpoints.",
                cure="Take ibm-granite/granite-speech-3.3-2b or a later one.",
            )


def _wording(checkpoint: Checkpoint, *, translates: bool) -> Wording:
    """As its makers ask, whose Plus is for transcripts alone."""
    asked = from_chat_template(
        checkpoint.folder,
        f"{_PLACEHOLDER}{{question}}",
        "can you transcribe the speech into a written format?",
        placeholder=_PLACEHOLDER,
    )
    if not translates:
        return asked
    return replace(
        asked,
        translate="translate the speech to {target}.",
        translates_to=("de", "en", "es", "fr", "ja", "pt"),
    )
