"""The Flamingos: the encoder of Qwen2-Audio, with two matrices behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

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
    """Raises ModelError for settings that no checkpoint of the family has."""
    return planned(
        checkpoint, family="Audio Flamingo 3", question="Transcribe the input speech.", markers=None
    )


def planned(
    checkpoint: Checkpoint,
    *,
    family: str,
    question: str,
    markers: tuple[str, str] | None,
    turned: Callable[[nn.Module], nn.Module] = lambda projector: projector,
    notes: tuple[str, ...] = (),
) -> Plan:
    """What becomes of a Flamingo. `markers` stand around the sound; `turned` is what is between
    encoder and projector, which it is given.
    """
    config = checkpoint.config
    audio, text = whisper_names(config["audio_config"]), config["text_config"]
    check_tower(audio)
    if config.get("projector_hidden_act", "gelu") != "gelu":
        raise ModelError(
            f"Its projector is not one of {family}.", cure="Take nvidia/audio-flamingo-3-hf."
        )
    language = plain(checkpoint, text)
    biased = bool(config.get("projector_bias", True))

    def tower() -> nn.Module:
        out = text["hidden_size"]
        projector = Perceptron(audio["d_model"], out, out, bias=biased)
        made = Tower(audio, turned(projector))
        checkpoint.fill(made.audio_tower, *TOWER)
        checkpoint.fill(projector, *PROJECTOR)
        return made

    wording = from_chat_template(
        checkpoint.folder,
        [{"type": "text", "text": "{question}"}, {"type": "audio"}],
        question,
        placeholder=_PLACEHOLDER,
    )
    if markers is not None:
        first, last = markers
        template = wording.template.replace("{audio}", f"{first}{{audio}}{last}")
        wording = replace(wording, template=template)
    return Plan(
        family=family,
        folder=checkpoint.folder,
        sound=Sound(tokens_per_second=RATE_HZ / (4 * HOP), max_audio_s=_WINDOW_S),
        wording=wording,
        language=language,
        tower=tower,
        tower_count=checkpoint.count(*TOWER, *PROJECTOR),
        licences=dict.fromkeys(("encoder", "llm"), checkpoint.licence),
        notes=notes,
    )
