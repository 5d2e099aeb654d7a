"""Which families there are, and why others are not."""

from __future__ import annotations

from pathlib import Path

from edge_audiokv.errors import InputError, ModelError
from edge_audiokv.families.checkpoint import Checkpoint
from edge_audiokv.families.plan import Plan
from edge_audiokv.families.towers import (
    audio_flamingo,
    fun_asr,
    glm_asr,
    granite_speech,
    moss,
    music_flamingo,
    phi4_multimodal,
    qwen2_5_omni,
    qwen2_audio,
    qwen3_asr,
    qwen3_omni,
    ultravox,
    voxtral,
)

# What config.json calls the kind of model -> who reads it.
FAMILIES = {
    "audioflamingo3": audio_flamingo.read,
    "fun_asr_nano": fun_asr.read,
    "glmasr": glm_asr.read,
    "granite_speech": granite_speech.read,
    "granite_speech_plus": granite_speech.read,
    "moss_transcribe_diarize": moss.read,
    "musicflamingo": music_flamingo.read,
    "phi4_multimodal": phi4_multimodal.read,
    "qwen2_audio": qwen2_audio.read,
    "qwen2_5_omni": qwen2_5_omni.read,
    "qwen2_5_omni_thinker": qwen2_5_omni.read,
    "qwen3_asr": qwen3_asr.read,
    "qwen3_omni_moe": qwen3_omni.read,
    "qwen3_omni_moe_thinker": qwen3_omni.read,
    "voxtral": voxtral.read,
}
ULTRAVOX = "ultravox"
# Known, and not to be had exactly.
REASONS = {
    "voxtral_realtime": "it adds sound to text step by step, which is another way of decoding",
    "gemma3n": "its language model attends through sliding windows, which the cache does not serve",
    "gemma4": "its language model attends through sliding windows, which the cache does not serve",
    "lfm2_audio": "it mixes recurrent layers with attention, which the cache does not serve",
    "phi4mm": "it is Phi-4-multimodal in the layout of its makers' own program; its revision"
    " refs/pr/70 has that of transformers",
}
_CURE = f"Take one of {', '.join(sorted((*FAMILIES, ULTRAVOX)))}."


def read(folder: Path, *, llm: Path | None = None, whisper: Path | None = None) -> Plan:
    """The plan for a checkpoint; `llm` and `whisper` are what an Ultravox keeps elsewhere.

    Raises InputError if the folder is none, ModelError if no family here reads it exactly.
    """
    checkpoint = Checkpoint(folder)
    kind = checkpoint.model_type
    if kind == ULTRAVOX:
        return ultravox.read(checkpoint, llm, whisper)
    if llm is not None or whisper is not None:
        raise InputError(
            "--llm and --whisper are for an Ultravox, whose parts lie apart.",
            cure="Leave them out.",
        )
    if kind in FAMILIES:
        return FAMILIES[kind](checkpoint)
    if kind in REASONS:
        raise ModelError(f"{folder} ({kind}) cannot be converted: {REASONS[kind]}.", cure=_CURE)
    if "auto_map" in checkpoint.raw:
        raise ModelError(
            f"{folder} is a model of its own code, which is never run.",
            cure=f"{_CURE} Or look for the same model in a form that transformers knows.",
        )
    named = f"is a {kind!r}, no audio LLM that is known here" if kind else "states no model_type"
    raise ModelError(f"{folder} {named}.", cure=_CURE)
