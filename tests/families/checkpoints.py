"""Every family's tiny checkpoint."""

from __future__ import annotations

from .chunked import Qwen3ASR, Qwen3Omni, Qwen25Omni, Ultravox
from .conformers import FunAsr, GraniteSpeech, GraniteSpeechPlus, Phi4
from .tiny import Tiny
from .windowed import AudioFlamingo, GlmAsr, Moss, MusicFlamingo, Qwen2Audio, Voxtral

ALL: tuple[type[Tiny], ...] = (
    Ultravox,
    Qwen3ASR,
    Qwen2Audio,
    Qwen25Omni,
    Qwen3Omni,
    Voxtral,
    AudioFlamingo,
    GlmAsr,
    GraniteSpeech,
    GraniteSpeechPlus,
    Phi4,
    Moss,
    MusicFlamingo,
    FunAsr,
)
