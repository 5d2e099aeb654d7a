"""The sound of one utterance: raw PCM that comes in pieces, kept on disk as a WAV file."""

from __future__ import annotations

import struct
import time
from pathlib import Path
from typing import BinaryIO, NamedTuple

from edge_audiokv.server.faults import ApiError
from edge_audiokv.server.limits import Limits
from edge_audiokv.server.spool import Spool

_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")


class Form(NamedTuple):
    rate_hz: int
    width_bytes: int
    channels: int


class Sound:
    """One utterance. `least_pace` bounds how slowly it may come, in seconds a second. Raises
    ApiError.
    """

    def __init__(self, form: Form, folder: Path, limits: Limits, *, least_pace: float = 0.0):
        self.form = form
        self._bytes_per_s = form.rate_hz * form.width_bytes * form.channels
        self._limits = limits
        self._least_pace = least_pace
        self._started_s = time.monotonic()
        self._spool = Spool(folder, limits.upload_bytes + _HEADER.size, what="the sound")
        self._spool.write(bytes(_HEADER.size))

    @property
    def duration_s(self) -> float:
        return (self._spool.n_bytes - _HEADER.size) / self._bytes_per_s

    def write(self, piece: bytes) -> None:
        if self.duration_s + len(piece) / self._bytes_per_s > self._limits.audio_s:
            raise ApiError(
                413,
                f"the audio is longer than {self._limits.audio_s:.0f} s; send it in parts.",
                code="audio_too_long",
            )
        self._spool.write(piece)
        late_s = time.monotonic() - self._started_s - self._limits.body_grace_s
        if self.duration_s < late_s * self._least_pace:
            raise ApiError(408, "the sound came too slowly.", code="timeout")

    def finish(self) -> BinaryIO:
        """The whole of it as a file, at its beginning."""
        rate, width, channels = self.form
        frame_bytes = width * channels
        n_bytes = (self._spool.n_bytes - _HEADER.size) // frame_bytes * frame_bytes
        file = self._spool.file
        file.seek(0)
        file.write(
            _HEADER.pack(
                b"RIFF", n_bytes + _HEADER.size - 8, b"WAVE", b"fmt ", 16, 1, channels, rate,
                rate * frame_bytes, frame_bytes, width * 8, b"data", n_bytes,
            )
        )  # fmt: skip
        file.seek(0)
        return file

    def close(self) -> None:
        self._spool.close()
