"""Sound files of any format, rate and channel count that libsndfile reads, a block at a time.

Policy for damage: what can be read is read. A truncated file ends early with a warning; NaN and
Inf become silence with a counted warning, but more than 1 % of them is an error, for then the
file is not what it says it is.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from edge_audiokv.audio.level import Health
from edge_audiokv.audio.resample import StreamResampler, to_mono
from edge_audiokv.audio.riff import declared_frames
from edge_audiokv.audio.source import SAMPLE_RATE_HZ, AudioSource, Samples
from edge_audiokv.errors import InputError
from edge_audiokv.events import Warned

_BLOCK_S = 1.0
_BLOCK_VALUES = 1 << 22  # of all channels together: 16 MiB
_MAX_BROKEN_SHARE = 0.01
_CLIPPED_SHARE_TO_NOTE = 0.001
_FORMATS = "WAV, FLAC, OGG/Opus, MP3 or AIFF"


class FileSource(AudioSource):
    """`file` is a path or an open binary file that can seek (it is not closed here).

    At most about a second of sound, or 16 MiB, is in memory. `open()` and `read()` raise
    InputError.
    """

    def __init__(self, file: str | os.PathLike[str] | BinaryIO, *, name: str = "") -> None:
        super().__init__()
        self._file = Path(file) if isinstance(file, (str, os.PathLike)) else file
        self.name = name or (str(file) if isinstance(self._file, Path) else "the audio")
        self._sound: soundfile.SoundFile | None = None
        self._reset()

    def _reset(self) -> None:
        self._resampler: StreamResampler | None = None
        self._ready: Samples = np.zeros(0, np.float32)
        self._health = Health()
        self._read_frames = 0
        self._expected_frames = 0
        self._ended = False

    def open(self) -> None:
        if self._sound is not None:
            return
        self._reset()
        if isinstance(self._file, Path):
            check_path(self._file)
        elif not hasattr(self._file, "read"):
            # A whole number would be taken for a descriptor, and that file closed in the end.
            kind = type(self._file).__name__
            raise InputError(
                f"{self.name} is of the type {kind}.", cure="Give a path or open file."
            )
        sound = self._open_sound()
        if sound.frames == 0 and (self._declared(sound) or 0) == 0:
            sound.close()
            raise InputError(
                f"{self.name} holds no samples.", cure="Record it again or name another file."
            )
        try:
            self._resampler = StreamResampler(sound.samplerate)
        except InputError as error:
            sound.close()
            raise InputError(f"{self.name}: {error.what}", cure=error.cure) from None
        self._expected_frames = max(sound.frames, self._declared(sound) or 0)
        self._sound = sound

    def _open_sound(self) -> soundfile.SoundFile:
        target = _c_name(self._file) if isinstance(self._file, Path) else self._file
        try:
            return soundfile.SoundFile(target)
        except soundfile.LibsndfileError as error:
            raise InputError(
                f"{self.name} is not audio that can be read ({_reason(error)}).",
                cure=f"Give {_FORMATS}; convert others first, for instance with: "
                "ffmpeg -i IN -ac 1 -ar 16000 OUT.wav",
            ) from None
        except TypeError:
            # soundfile goes by the name alone here: it looks for no header in a .raw file.
            raise InputError(
                f"{self.name} is raw sound, of which no header speaks.",
                cure="Say what it holds, such as --raw s16le:16000; "
                "if it has a header, give it another name.",
            ) from None

    def _declared(self, sound: soundfile.SoundFile) -> int | None:
        """Frames that the header promises; libsndfile quietly shortens a cut WAV."""
        if sound.format not in ("WAV", "WAVEX") or not isinstance(self._file, Path):
            return None
        return declared_frames(self._file)

    @property
    def duration_s(self) -> float:
        """Seconds that can be read, from the header; 0 before `open()`."""
        if self._sound is None:
            return 0.0
        return float(self._sound.frames / self._sound.samplerate)

    def _read(self, max_samples: int) -> Samples | None:
        if self._sound is None or self._resampler is None:
            raise InputError(f"{self.name} is not open.", cure="Call open() first.")
        while not len(self._ready):
            if self._ended:
                return None
            self._ready = self._next_block(self._sound, self._resampler)
        samples, self._ready = self._ready[:max_samples], self._ready[max_samples:]
        return samples

    def _next_block(self, sound: soundfile.SoundFile, resampler: StreamResampler) -> Samples:
        wanted = max(1, min(int(sound.samplerate * _BLOCK_S), _BLOCK_VALUES // sound.channels))
        damage = ""
        try:
            frames: Samples = sound.read(wanted, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            # A decoder that lost its way: keep what came before.
            damage = _reason(error)
            frames = np.zeros((0, sound.channels), np.float32)
        self._read_frames += len(frames)
        mono = to_mono(self._health.check(frames))
        self._ended = len(frames) < wanted
        self._check_health(at_end=self._ended)
        if self._ended and (damage or self._read_frames < self._expected_frames):
            self._warn_truncated(sound, damage)
        return resampler.push(mono, last=self._ended)

    def _check_health(self, *, at_end: bool) -> None:
        health = self._health
        if health.broken_share > _MAX_BROKEN_SHARE:
            raise InputError(
                f"{self.name} holds {health.broken_share:.0%} NaN or Inf samples.",
                cure="Export it again; this is not sound.",
            )
        if at_end and health.broken_samples:
            self._warn(f"{health.broken_samples} NaN or Inf samples were replaced by silence")
        if at_end and health.clipped_share > _CLIPPED_SHARE_TO_NOTE:
            self._warn(
                f"{health.clipped_share:.1%} of the samples are clipped; "
                "record at a lower level for better text"
            )

    def _warn_truncated(self, sound: soundfile.SoundFile, damage: str) -> None:
        read_s = self._read_frames / sound.samplerate
        promised_s = self._expected_frames / sound.samplerate
        if self._read_frames == 0:
            why = damage or f"its header promises {promised_s:.1f} s and nothing follows"
            raise InputError(
                f"{self.name} is damaged ({why}); nothing could be read.",
                cure="Copy or record it again.",
            )
        why = f" ({damage})" if damage else ""
        self._warn(f"is cut short{why}: {read_s:.1f} s of {promised_s:.1f} s could be read")

    def _warn(self, message: str) -> None:
        time_s = self._read_frames / self._sound.samplerate if self._sound else 0.0
        self._events.append(Warned(time_s, f"{self.name}: {message}."))

    def close(self) -> None:
        sound, self._sound = self._sound, None
        if sound is not None:
            sound.close()
        self._ready = np.zeros(0, np.float32)
        self._resampler = None

    @property
    def nbytes(self) -> int:
        """Bytes of sound held now."""
        return int(self._ready.nbytes)


def _c_name(path: Path) -> str | bytes:
    """The name as libsndfile takes it: names are bytes, and need not be text, but on Windows."""
    return str(path) if os.name == "nt" else os.fsencode(path)


def _reason(error: soundfile.LibsndfileError) -> str:
    reason: str = error.error_string.removeprefix("Error : ").rstrip(".")
    # What libsndfile says of damaged MP3; `check_path` has seen that the file is there.
    return "damaged, or of an unknown format" if "does not exist" in reason else reason


def check_path(path: Path) -> None:
    """Raise the InputError that says which of the usual things is wrong with `path`."""
    try:
        status = path.stat()
    except FileNotFoundError:
        raise InputError(f"There is no file {path}.", cure="Check the name.") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path} cannot be opened: {reason}.", cure="Check the name.") from None
    if stat.S_ISDIR(status.st_mode):
        raise InputError(f"{path} is a directory.", cure=f"Name the files in it: {path}/*.wav")
    if not stat.S_ISREG(status.st_mode):
        raise InputError(
            f"{path} is not a regular file.", cure="Pipe it in instead: transcribe - < FILE"
        )
    if status.st_size == 0:
        raise InputError(f"{path} is empty (0 bytes).", cure="Record it again.")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path} may not be read.", cure=f"Change its rights: chmod u+r {path}")


def read_all(file: str | os.PathLike[str] | BinaryIO, *, max_duration_s: float = 3600.0) -> Samples:
    """All of a short file as float32 [S] at 16 kHz; InputError past `max_duration_s`."""
    pieces = []
    with FileSource(file) as source:
        while (piece := source.read(SAMPLE_RATE_HZ)) is not None:
            pieces.append(piece)
            if source.clock_s > max_duration_s:
                raise InputError(
                    f"{source.name} is longer than {max_duration_s:.0f} s.",
                    cure="Read it as a stream.",
                )
    return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
