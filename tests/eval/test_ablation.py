"""Either part alone: what the encoder's text is, and what the LLM is left with."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from edge_audiokv.encoder.sound import Sound
from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.errors import InputError
from edge_audiokv.eval.ablation import encoder_alone_with, without_words

WORDS = (" red", "dish", " fox")


def transcriber(sound: Sound, words: tuple[str, ...] = WORDS) -> Any:
    return SimpleNamespace(
        recognizer=SimpleNamespace(hear=lambda samples: sound),
        runtime=SimpleNamespace(words=words),
        settings=EngineSettings(),
    )


def heard(*beliefs: tuple[float, float, float], reading: str = "") -> Sound:
    words = np.tile(np.arange(3, dtype=np.int32), (len(beliefs), 1))
    rows = np.zeros((len(beliefs), 4), np.float32)
    return Sound(rows, words, np.array(beliefs, np.float32), bool(reading), reading)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "x.wav"
    soundfile.write(path, np.zeros(1600, np.float32), 16000)
    return path


def test_what_was_read_is_the_encoders_text(clip: Path) -> None:
    sound = heard((0.9, 0.0, 0.0), reading="A red fox.")
    assert encoder_alone_with(transcriber(sound))(clip).text == "A red fox."


def test_what_was_not_read_is_written_row_by_row(clip: Path) -> None:
    # Half a belief is less than that in silence; a piece goes on with its word.
    sound = heard((0.9, 0.0, 0.1), (0.1, 0.8, 0.0), (0.0, 0.0, 0.4), (0.0, 0.0, 0.7))
    assert encoder_alone_with(transcriber(sound))(clip).text == "reddish fox"


def test_an_encoder_without_words_is_refused() -> None:
    with pytest.raises(InputError, match="names no words"):
        encoder_alone_with(transcriber(heard(), ()))


def test_the_llm_is_left_without_words_and_names() -> None:
    settings = without_words(EngineSettings(kv_share=0.4, hotwords="Argyle"))
    assert (settings.word_weight, settings.hotwords, settings.kv_share) == (0.0, (), 0.4)
