"""Words made up out of sounds without speech, the model alone (no speech detection)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_audiokv.audio.endpoint import EndpointConfig
from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.engine.transcriber import Transcriber
from edge_audiokv.eval.recall import wilson
from edge_audiokv.eval.wer import hear_whole_with, normalise


@dataclass(frozen=True)
class NoiseReport:
    """How many clips gave words, with a 95 % Wilson interval, and which."""

    clips: int
    with_words: int
    share: float
    low: float
    high: float
    guarded: int
    texts: dict[str, str]


def hear_noise(
    settings: EngineSettings, files: Sequence[Path], *, on_clip: Callable[[str], None] | None = None
) -> NoiseReport:
    """Transcribe each file whole (at most 30 s) and count those that give words."""
    texts, guarded = {}, 0
    with Transcriber(settings, endpoint=EndpointConfig(max_segment_s=30.0)) as transcriber:
        hear = hear_whole_with(transcriber)
        for file in files:
            heard = hear(file)
            guarded += bool(heard.flags)
            if normalise(heard.text):
                texts[file.name] = heard.text
            if on_clip is not None:
                on_clip(heard.text)
    low, high = wilson(len(texts), len(files))
    share = len(texts) / max(1, len(files))
    return NoiseReport(len(files), len(texts), share, low, high, guarded, texts)
