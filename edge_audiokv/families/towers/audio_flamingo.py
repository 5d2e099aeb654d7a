"""Audio Flamingo 3: the encoder of Qwen2-Audio, with two matrices behind it."""

from __future__ import annotations

from torch import nn

from edge_audiokv.errors import ModelError
from edge_audiokv.families.checkpoint import Checkpoint
from edge_audiokv.families.language import plain
from edge_audiokv.families.plan import Plan, Sound
from edge_audiokv.families.towers.layers import Perceptron, check_tower, whisper_names
from edge_audiokv.families.towers.mel import HOP, RATE_HZ
from edge_audiokv.families.towers.qwen2_audio import PROJECTOR, TOWER, Tower
from edge_audiokv.families.wording import from_chat_template

_WINDOW_S = 30
_PLACEHOLDER = "<sound>"


def read(checkpoint: Checkpoint) -> Plan:
    config = checkpoint.config
    audio, text = whisper_names(config["audio_config"]), config["text_config"]
    check_tower(audio)
    if config.get("projector_hidden_act", "gelu") != "gelu":
        raise ModelError(
            "Its projector is not one of Audio Flamingo 3.", cure="Take nvidia/audio-flamingo-3-hf."
        )
    language = plain(checkpoint, text)
    biased = bool(config.get("projector_bias", True))

    def tower() -> nn.Module:
        out = text["hidden_size"]
        made = Tower(audio, Perceptron(audio["d_model"], out, out, bias=biased))
        checkpoint.fill(made.audio_tower, *TOWER)
        checkpoint.fill(made.multi_modal_projector, *PROJECTOR)
        return made

    return Plan(
        family="Audio Flamingo 3",
        folder=checkpoint.folder,
        sound=Sound(tokens_per_second=RATE_HZ / (4 * HOP), max_audio_s=_WINDOW_S),
        wording=from_chat_template(
            checkpoint.folder,
            [{"type": "text", "text": "{question}"}, {"type": "audio"}],
            "Transcribe the input speech.",
            placeholder=_PLACEHOLDER,
        ),
        language=language,
        tower=tower,
        tower_count=checkpoint.count(*TOWER, *PROJECTOR),
        licences=dict.fromkeys(("encoder", "llm"), checkpoint.licence),
    )
