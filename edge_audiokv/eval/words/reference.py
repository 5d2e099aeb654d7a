"""Where Whisper's cross-attention sees the words of a known text (forced alignment).

Whisper's own word times begin a word where the one before it ended, so that a pause belongs to the
word after it. `cut_at_pauses` takes the silence at both ends of a span away; frames are 20 ms, and
silent below a level between the clip's loudest and its quietest frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np

from edge_audiokv.eval.anchor import WhisperAnchor
from edge_audiokv.events import Word
from edge_audiokv.kv.shape import FloatArray

RATE_HZ = 16_000
# What Whisper sees at once.
MAX_S = 30.0
_FRAME_S = 0.02
# Speech is within so many dB of the loud frames, and so many above the quiet ones.
_BELOW_LOUD_DB, _ABOVE_QUIET_DB = 30.0, 6.0


class CrossAttention(WhisperAnchor):
    """Word times of a text by dynamic time warping over Whisper's alignment heads.

    The procedure is that of Whisper's authors (`find_alignment` of faster-whisper).
    """

    def align(self, samples: FloatArray, text: str) -> list[Word]:
        """Words of `text` in `samples`, float32 [S] at 16 kHz, at most 30 s."""
        self.load()
        audio, tokens = self._tools()
        features = self._model.feature_extractor(samples)
        n_frames = min(features.shape[-1], 3000)
        seen = self._model.encode(audio.pad_or_trim(features[..., :3000]))
        ids = tokens.encode(" " + text)
        found = self._model.find_alignment(tokens, [ids], seen, n_frames)[0]
        return [
            Word(w["word"], float(w["start"]), float(w["end"]), float(w["probability"]))
            for w in found
        ]

    def _tools(self) -> tuple[Any, Any]:
        tokenizer = import_module("faster_whisper.tokenizer")
        tokens = tokenizer.Tokenizer(
            self._model.hf_tokenizer, False, task="transcribe", language="en"
        )
        return import_module("faster_whisper.audio"), tokens


def cut_at_pauses(words: Sequence[Word], samples: FloatArray) -> list[Word]:
    """`words` without the silence at both ends; one that is all silent stays as it is."""
    size = round(_FRAME_S * RATE_HZ)
    n_frames = len(samples) // size
    frames = samples[: n_frames * size].reshape(n_frames, size).astype(np.float64)
    level_db = 10 * np.log10((frames**2).mean(axis=1) + 1e-10)
    if not n_frames:
        return list(words)
    loud, quiet = np.percentile(level_db, [95, 5])
    spoken = level_db > max(loud - _BELOW_LOUD_DB, quiet + _ABOVE_QUIET_DB)
    cut = []
    for word in words:
        first = round(word.start_s / _FRAME_S)
        inside = np.flatnonzero(spoken[first : round(word.end_s / _FRAME_S)])
        if len(inside):
            start_s, end_s = first + inside[0], first + inside[-1] + 1
            word = replace(word, start_s=start_s * _FRAME_S, end_s=end_s * _FRAME_S)
        cut.append(word)
    return cut
