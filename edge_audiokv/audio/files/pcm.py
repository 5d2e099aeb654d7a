"""Raw PCM from standard input, a pipe or a socket, described as `s16le:16000` or `f32le:48000:2`.

Try: arecord -t raw -f S16_LE -r 16000 | edge-audiokv listen - --raw s16le:16000
"""

from __future__ import annotations

import os
import select
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from edge_audiokv.audio.channels import Mixer
from edge_audiokv.audio.files.file import check_path
from edge_audiokv.audio.files.riff import PCM, to_float
from edge_audiokv.audio.level import Health, LiveHealth
from edge_audiokv.audio.resample import MAX_RATE_HZ, MIN_RATE_HZ, StreamResampler
from edge_audiokv.audio.scale import FloatScale
from edge_audiokv.audio.source import SAMPLE_RATE_HZ, AudioSource, Samples
from edge_audiokv.errors import InputError
from edge_audiokv.events import Warned

# name: (numpy type, what full scale is)
_ENCODINGS = {
    "s16le": ("<i2", 32768.0),
    "s16be": (">i2", 32768.0),
    "s32le": ("<i4", 2147483648.0),
    "f32le": ("<f4", 1.0),
    "u8": ("u1", 128.0),
    "s24le": ("V3", 8388608.0),
}
_MAX_CHANNELS = 64


@dataclass(frozen=True)
class PcmFormat:
    """How raw samples are laid out: interleaved, little or big endian."""

    encoding: str = "s16le"
    rate_hz: int = SAMPLE_RATE_HZ
    channels: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `ENCODING:RATE[:CHANNELS]`. Raises InputError with the accepted forms."""
        cure = f"Write ENCODING:RATE[:CHANNELS], such as s16le:16000; {', '.join(_ENCODINGS)}."
        parts = text.strip().lower().split(":")
        if len(parts) not in (2, 3) or parts[0] not in _ENCODINGS:
            raise InputError(f"{text!r} is not a raw format.", cure=cure)
        try:
            rate_hz = int(parts[1])
            channels = int(parts[2]) if len(parts) == 3 else 1
        except ValueError:
            raise InputError(f"{text!r} is not a raw format.", cure=cure) from None
        if not MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ or not 1 <= channels <= _MAX_CHANNELS:
            raise InputError(
                f"{text!r} is out of range.",
                cure=f"Use {MIN_RATE_HZ}-{MAX_RATE_HZ} Hz and 1-{_MAX_CHANNELS} channels.",
            )
        return cls(parts[0], rate_hz, channels)

    @property
    def frame_bytes(self) -> int:
        return np.dtype(_ENCODINGS[self.encoding][0]).itemsize * self.channels

    def decode(self, data: bytes) -> Samples:
        """Whole frames of bytes -> float32 [S, C] in [-1, 1]; floats may hold NaN."""
        kind, full_scale = _ENCODINGS[self.encoding]
        if self.encoding in ("u8", "s24le"):
            return to_float(data, PCM, 8 * np.dtype(kind).itemsize).reshape(-1, self.channels)
        frames = np.frombuffer(data, kind).reshape(-1, self.channels)
        return (frames / np.float64(full_scale)).astype(np.float32)


class PcmSource(AudioSource):
    """`stream` gives bytes: a path, `sys.stdin.buffer` or `socket.makefile("rb")`.

    A pipe or socket is realtime: a read waits at most `wait_s` and may come back empty. A stream
    that was given open belongs to the caller and stays open.
    """

    def __init__(
        self,
        stream: BinaryIO | Path,
        format: PcmFormat | str,
        *,
        name: str = "raw input",
        wait_s: float = 0.1,
    ) -> None:
        super().__init__()
        self.format = PcmFormat.parse(format) if isinstance(format, str) else format
        self.name = name
        self._given = stream
        self._stream: Any = None
        self._wait_s = wait_s
        self._resampler: StreamResampler | None = None
        self._pollable = False
        self._rest = b""
        self._ready: Samples = np.zeros(0, np.float32)
        self._ended = False
        self._health = LiveHealth()
        self._mixer, self._scale = Mixer(), FloatScale()

    def open(self) -> None:
        if self._resampler is not None:
            return
        if isinstance(self._given, Path):
            check_path(self._given)
            self._stream = self._given.open("rb", buffering=0)
        else:
            # The unbuffered stream below: what a buffer holds, select() cannot see.
            self._stream = getattr(self._given, "raw", self._given)
        self._resampler = StreamResampler(self.format.rate_hz)
        self._pollable = is_pollable(self._stream)
        self.realtime = self._pollable
        self._ended = False
        self._rest = b""
        self._mixer, self._scale = Mixer(), FloatScale()

    def _read(self, max_samples: int) -> Samples | None:
        if self._resampler is None:
            raise InputError(f"{self.name} is not open.", cure="Call open() first.")
        while not len(self._ready):
            if self._ended:
                return None
            wanted = -(-max_samples * self.format.rate_hz // SAMPLE_RATE_HZ)
            data = self._receive(wanted * self.format.frame_bytes)
            if data is None:
                break
            self._ended = not data
            self._ready = self._resampler.push(self._decode(data), last=self._ended)
            if self._pollable:
                break
        if not len(self._ready) and self._ended:
            return None
        samples, self._ready = self._ready[:max_samples], self._ready[max_samples:]
        return samples

    def _receive(self, max_bytes: int) -> bytes | None:
        """Some bytes; b"" at the end; None if nothing came within `wait_s`."""
        try:
            if self._pollable and not self._is_ready():
                return None
            data: bytes | None = self._stream.read(max_bytes)
        except OSError as error:
            raise InputError(f"{self.name} cannot be read: {error.strerror or error}.") from None
        return data

    def _is_ready(self) -> bool:
        ready = getattr(self._stream, "ready", None)
        if ready is not None:  # it holds bytes that select() cannot see
            return bool(ready(self._wait_s))
        return bool(select.select([self._stream], [], [], self._wait_s)[0])

    def _decode(self, data: bytes) -> Samples:
        data = self._rest + data
        whole = len(data) - len(data) % self.format.frame_bytes
        self._rest = data[whole:]
        if self._ended and self._rest:
            self._warn(f"the last {len(self._rest)} bytes are no whole frame and were dropped")
        frames = self._scale.apply(self.format.decode(data[:whole]))
        mono = self._mixer.mix(Health().check(frames))
        told = self._health.messages(frames, self.clock_s)
        for message in (*told, *self._scale.take_notes(), *self._mixer.take_notes()):
            self._warn(message)
        return mono

    def _warn(self, message: str) -> None:
        self._events.append(Warned(self.clock_s, f"{self.name}: {message}."))

    def close(self) -> None:
        if isinstance(self._given, Path) and self._stream is not None:
            self._stream.close()
        self._stream = None
        self._resampler = None
        self._ready = np.zeros(0, np.float32)

    @property
    def nbytes(self) -> int:
        """Bytes of sound held now."""
        return int(self._ready.nbytes) + len(self._rest)


def is_pollable(stream: Any) -> bool:
    """Whether select() can wait for `stream`: a pipe, socket or terminal, not a plain file."""
    try:
        mode = os.fstat(stream.fileno()).st_mode
        select.select([stream], [], [], 0)
    except (AttributeError, OSError, ValueError):
        return False
    return not stat.S_ISREG(mode)
