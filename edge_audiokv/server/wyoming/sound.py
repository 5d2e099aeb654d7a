"""The sound of one utterance: raw PCM that comes in pieces, kept on disk as a WAV file."""

from __future__ import annotations

import struct
import time
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

from edge_audiokv.server.faults import ApiError, refused
from edge_audiokv.server.limits import Limits
from edge_audiokv.server.spool import Spool

_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")
_WIDTHS = (2, 3, 4)
# A microphone sends at the pace of time; half of it is no microphone that is worth a place.
_LEAST_PACE = 0.5


class Sound:
    """One utterance in the form that its audio-start says. Raises ApiError."""

    def __init__(self, data: dict[str, Any], folder: Path, limits: Limits) -> None:
        self._form = _form_of(data)
        self._limits = limits
        self._started_s = time.monotonic()
        self._spool = Spool(folder, limits.upload_bytes + _HEADER.size, what="the sound")
        self._spool.write(bytes(_HEADER.size))

    @property
    def duration_s(self) -> float:
        rate, width, channels = self._form
        return (self._spool.n_bytes - _HEADER.size) / (rate * width * channels)

    def check(self, data: dict[str, Any]) -> None:
        """A chunk says its form again, which must be that of the start."""
        if _form_of(data) != self._form:
            raise refused("audio-chunk", "its form is not that of audio-start.")

    def write(self, piece: bytes) -> None:
        self._spool.write(piece)
        if self.duration_s > self._limits.audio_s:
            raise ApiError(
                413,
                f"the audio is longer than {self._limits.audio_s:.0f} s; send it in parts.",
                code="audio_too_long",
            )
        late_s = time.monotonic() - self._started_s - self._limits.body_grace_s
        if self.duration_s < late_s * _LEAST_PACE:
            raise ApiError(408, "the sound came too slowly.", code="timeout")

    def finish(self) -> BinaryIO:
        """The whole of it as a file, at its beginning."""
        rate, width, channels = self._form
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


def _form_of(data: dict[str, Any]) -> tuple[int, int, int]:
    """Rate in Hz, bytes of a sample, channels."""
    rate, width, channels = (data.get(name) for name in ("rate", "width", "channels"))
    if not _is_number(rate) or not 8000 <= rate <= 192_000:
        raise refused("rate", "8000 to 192000 Hz.")
    if not _is_number(width) or width not in _WIDTHS:
        raise refused("width", "2, 3 or 4 bytes.")
    if not _is_number(channels) or not 1 <= channels <= 8:
        raise refused("channels", "1 to 8.")
    return rate, width, channels


def _is_number(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
