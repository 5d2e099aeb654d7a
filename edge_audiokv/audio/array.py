"""Sound that a program holds in memory, as a source."""

from __future__ import annotations

import numpy as np

from edge_audiokv.audio.intake import Intake, Pcm
from edge_audiokv.audio.source import SAMPLE_RATE_HZ, AudioSource, Samples
from edge_audiokv.events import Warned


class ArraySource(AudioSource):
    """`pcm` as `Session.feed` takes it, all of it, at `rate_hz`; it is not copied as a whole.

    `open()` raises InputError if it is not understood. Opened again it begins anew.
    """

    def __init__(self, pcm: Pcm, rate_hz: int = SAMPLE_RATE_HZ) -> None:
        super().__init__()
        self._pcm = pcm
        self._rate_hz = rate_hz
        self._close()

    def _close(self) -> None:
        self._intake: Intake | None = None
        self._ready: Samples = np.zeros(0, np.float32)
        self._ended = False

    def open(self) -> None:
        if self._intake is None:
            self._intake = Intake()
            self._pieces = self._intake.pieces(self._pcm, self._rate_hz)

    def _read(self, max_samples: int) -> Samples | None:
        self.open()
        while len(self._ready) == 0 and not self._ended:
            self._advance()
        if len(self._ready) == 0:
            return None
        taken, self._ready = self._ready[:max_samples], self._ready[max_samples:]
        return taken

    def _advance(self) -> None:
        intake = self._intake
        if intake is None:
            raise RuntimeError("open() left no intake")
        piece = next(self._pieces, None)
        if piece is None:
            self._ended = True
            messages = [*intake.complaints(), *intake.leftover()]
            piece = intake.flush()
        else:
            messages = intake.complaints()
        self._ready = piece
        self._events.extend(Warned(self.clock_s, message) for message in messages)

    def close(self) -> None:
        self._close()
