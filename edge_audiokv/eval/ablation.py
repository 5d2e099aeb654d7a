"""What of a text is the encoder's part and what the LLM's: either alone, beside both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edge_audiokv.audio.files.file import read_all
from edge_audiokv.engine.alignment.jumps import heard_words
from edge_audiokv.errors import InputError
from edge_audiokv.eval.wer import Hypothesis, Transcribe

if TYPE_CHECKING:
    from edge_audiokv.engine.settings import EngineSettings
    from edge_audiokv.engine.transcriber import Transcriber

ENCODER_ALONE, LLM_ALONE = "encoder alone", "LLM alone"


def without_words(settings: EngineSettings) -> EngineSettings:
    """The LLM has only the rows of the sound: no word that the encoder names counts."""
    return replace(settings, word_weight=0.0, hotwords=())


def encoder_alone_with(transcriber: Transcriber) -> Transcribe:
    """What the encoder would write of each clip: what was read in order where that is believed,
    else the likeliest words of the rows.

    Raises InputError for a model whose encoder names no words.
    """
    recognizer = transcriber.recognizer
    words = transcriber.runtime.words
    if not words:
        raise InputError(
            f"The encoder of {transcriber.settings.model} names no words.",
            cure="Leave --ablate out: the text is the LLM's alone.",
        )

    def hear(path: Path) -> Hypothesis:
        sound = recognizer.hear(read_all(path))
        return Hypothesis(sound.reading or " ".join(w.text for w in heard_words(sound, words)))

    return hear
