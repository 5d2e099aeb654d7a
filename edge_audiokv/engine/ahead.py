"""Read while somebody speaks: what was said a moment ago need not wait for the end.

Rows of a sound change little once the encoder has heard what follows them. So at fixed times of an
open segment they are settled, and the LLM reads them; when the segment ends, it has only the rest
to read. The times do not depend on the machine, and so neither do the rows, as long as it keeps up.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from edge_audiokv.audio.source import SAMPLE_RATE_HZ
from edge_audiokv.encoder.sound import Sound
from edge_audiokv.kv.shape import FloatArray

if TYPE_CHECKING:
    from edge_audiokv.engine.recognizer import Recognizer

# So much more sound is settled each time, once so much of what follows it was heard.
_STEP_S, _AFTER_S = 2.0, 1.0
# Where it takes more of the time than this, nothing is read ahead for as long as that takes.
_SHARE = 0.25


class ReadAhead:
    """Settles rows of the open segment, and lets `recognizer` read them."""

    def __init__(self, recognizer: Recognizer) -> None:
        self.recognizer = recognizer
        self._rows: list[FloatArray] = []
        self._not_before_s = 0.0

    def reset(self) -> None:
        """A new segment has begun."""
        self._rows, self._not_before_s = [], 0.0

    @property
    def due_s(self) -> float:
        """Seconds of the segment when it is time to settle more; infinite if it never is."""
        # Blocks and windows are filled up at their end: their rows change with what follows.
        if self.recognizer.runtime.encoder.rule.kind != "linear":
            return float("inf")
        return max(self._settled_s + _STEP_S + _AFTER_S, self._not_before_s)

    def look(self, samples: FloatArray) -> Sound | None:
        """Settle what can be settled of a segment that begins with `samples`, if it is time to.

        Returns what was heard, of the sound up to `_AFTER_S` after what is settled now.
        """
        length_s = len(samples) / SAMPLE_RATE_HZ
        if length_s < self.due_s:
            return None
        started = time.perf_counter()
        encoder = self.recognizer.runtime.encoder
        n_rows = round(self._settled_s * encoder.tokens_per_second)
        n_after = n_rows + round(_STEP_S * encoder.tokens_per_second)
        end = n_after * encoder.rule.unit_samples + round(_AFTER_S * encoder.sample_rate_hz)
        sound = self.recognizer.hear(samples[:end], final=False)
        self._rows.append(sound.embeddings[n_rows:n_after].copy())
        sound = self.settled(sound)
        self.recognizer.read_ahead(sound.embeddings[:n_after])
        cost_s = time.perf_counter() - started
        if cost_s > _SHARE * _STEP_S:
            self._not_before_s = length_s + cost_s / _SHARE
        return sound

    def settled(self, sound: Sound) -> Sound:
        """`sound`, which is the segment up to anywhere, with the rows that are settled."""
        if not self._rows:
            return sound
        rows = np.concatenate(self._rows)[: len(sound)]
        embeddings = np.concatenate([rows, sound.embeddings[len(rows) :]])
        return replace(sound, embeddings=embeddings)

    @property
    def _settled_s(self) -> float:
        return sum(map(len, self._rows)) / self.recognizer.runtime.encoder.tokens_per_second
