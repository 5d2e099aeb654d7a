"""A source that lets somebody look on, and a recorder that keeps what was heard."""

from __future__ import annotations

import os
import struct
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from edge_audiokv.audio.source import SAMPLE_RATE_HZ, AudioSource, Samples
from edge_audiokv.errors import OutputError
from edge_audiokv.events import Event
from edge_audiokv.files import open_private
from edge_audiokv.units import printable


class MonitoredSource(AudioSource):
    """Reads `inner` and shows every block to `on_samples` before handing it on."""

    def __init__(self, inner: AudioSource, on_samples: Callable[[Samples], None]) -> None:
        super().__init__()
        self.inner = inner
        self._on_samples = on_samples

    def describe(self) -> str:
        return self.inner.describe()

    def open(self) -> None:
        self.inner.open()
        self.realtime = self.inner.realtime

    def close(self) -> None:
        self.inner.close()

    def _read(self, max_samples: int) -> Samples | None:
        samples = self.inner.read(max_samples)
        if samples is not None:
            self._on_samples(samples)
        return samples

    def take_events(self) -> list[Event]:
        """The inner source's news."""
        return self.inner.take_events()


# What a full disk may cost of a recording: 0.1 s.
_PIECE_SAMPLES = SAMPLE_RATE_HZ // 10


class _WaveFile:
    """16-bit WAV whose header is true after every write: what a kill leaves is a whole file."""

    def __init__(self, handle: int) -> None:
        self._stream = os.fdopen(handle, "r+b")
        self._wave = wave.open(self._stream, "wb")  # noqa: SIM115 - closed by close()
        self._wave.setnchannels(1)
        self._wave.setsampwidth(2)
        self._wave.setframerate(SAMPLE_RATE_HZ)
        self.write(np.zeros(0, np.float32))

    def write(self, samples: Samples) -> None:
        # In pieces: a disk that fills up takes no more than the piece that did not fit.
        for start in range(0, max(1, len(samples)), _PIECE_SAMPLES):
            piece = samples[start : start + _PIECE_SAMPLES]
            self._wave.writeframes(np.rint(piece * 32767).astype("<i2").tobytes())
            self._stream.flush()

    def flush(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        try:
            self._wave.close()
        finally:
            self._stream.close()


class Recorder:
    """Writes 16 kHz mono to `path` as it comes; the format follows the name (WAV, FLAC, OGG).

    A new file is its owner's alone. After a kill a WAV file is whole, and a FLAC file up to its
    last full block (0.26 s).

    The first failure (a full disk, or 4 GiB of WAV) raises OutputError once; what was written stays
    readable.
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        self.path, self.overwrite = path, overwrite
        self.duration_s = 0.0
        self._file: soundfile.SoundFile | _WaveFile | None = None
        self._is_new = self._is_due = self._failed = False

    def open(self) -> None:
        """Make the file now, so that a wrong name is told before an hour has passed.

        What `overwrite` gives away is there until sound comes. Raises OutputError.
        """
        # What cannot be looked at cannot be made either, which says why.
        self._is_new = not os.path.exists(self.path)
        is_file = not self._is_new and not self.path.is_dir()
        if is_file and not self.overwrite:
            raise OutputError(
                f"{printable(str(self.path))} is there already.",
                cure="Give another --save-audio, or --overwrite.",
            )
        if is_file and os.access(self.path, os.W_OK):
            self._kind()
            self._is_due = True
        else:
            self._make()

    def write(self, samples: Samples) -> None:
        """Append float32 [S]. Raises OutputError at the first failure, then stays silent."""
        if self._failed:
            return
        try:
            if self._is_due:
                self._is_due = False
                self._make()
            if self._file is None:
                return
            self._file.write(np.clip(samples, -1.0, 1.0))
            self._file.flush()
            self.duration_s += len(samples) / SAMPLE_RATE_HZ
        except OutputError:
            self._failed = True
            raise
        except (soundfile.LibsndfileError, RuntimeError, OSError, struct.error) as error:
            self._failed = True
            raise OutputError(
                f"{self.path} is not recorded any more ({error}).", cure="Free some space."
            ) from None

    def abandon(self) -> None:
        """What was to be heard never began: end the file, and remove a new one without sound."""
        self.close()
        if self._is_new and not self.duration_s:
            self.path.unlink(missing_ok=True)

    def _make(self) -> None:
        kind = self._kind()
        try:
            handle = open_private(self.path)
            if kind == "WAV":
                self._file = _WaveFile(handle)
            else:
                self._file = soundfile.SoundFile(
                    handle, "w", samplerate=SAMPLE_RATE_HZ, channels=1, format=kind, closefd=True
                )
        except (soundfile.LibsndfileError, OSError, TypeError, ValueError) as error:
            raise self._unfit(str(error)) from None

    def _kind(self) -> str:
        kind = self.path.suffix.removeprefix(".").upper()
        if kind not in soundfile.available_formats():
            raise self._unfit(f"no format is called {kind or 'that'}")
        return kind

    def _unfit(self, why: str) -> OutputError:
        return OutputError(
            f"{self.path} cannot be recorded to ({why}).",
            cure="Name a .wav or .flac file in a directory of yours.",
        )

    def close(self) -> None:
        """End the file. Closing twice does nothing."""
        file, self._file = self._file, None
        self._is_due = False
        if file is None:
            return
        try:
            file.close()
        except (OSError, struct.error):
            # A full disk, which `write` has told: the header counts what was written before.
            if not self._failed:
                raise
