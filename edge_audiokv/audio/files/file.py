"""Sound files of any format, rate and channel count, a block of a second at a time.

Policy for damage: what can be read is read. A truncated file ends early with a warning; NaN and
Inf become silence with a counted warning, but more than 1 % of them is an error, for then the
file is not what it says it is.
"""

from __future__ import annotations

import os
import stat
from contextlib import closing, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from edge_audiokv.audio.channels import Mixer
from edge_audiokv.audio.files.containers import open_container
from edge_audiokv.audio.files.decoding import Decoder, SoundFileDecoder, reason
from edge_audiokv.audio.level import Health
from edge_audiokv.audio.resample import StreamResampler
from edge_audiokv.audio.scale import FloatScale
from edge_audiokv.audio.source import SAMPLE_RATE_HZ, AudioSource, Samples
from edge_audiokv.errors import InputError
from edge_audiokv.events import Warned
from edge_audiokv.noise import caught

_BLOCK_S = 1.0
_BLOCK_VALUES = 1 << 22  # of all channels together: 16 MiB
_LOOK_AHEAD_BLOCKS = 60
_MAX_BROKEN_SHARE = 0.01
_CLIPPED_SHARE_TO_NOTE = 0.001
_FORMATS = "WAV, FLAC, OGG/Opus, MP3, AIFF, M4A, WebM or MKV"


class FileSource(AudioSource):
    """`file` is a path or an open binary file that can seek (it is not closed here).

    At most about a second of sound, or 16 MiB, is in memory. `open()` and `read()` raise
    InputError.
    """

    # For what cannot be read.
    cure = (
        f"Give {_FORMATS}; convert others first, for instance with: "
        "ffmpeg -i IN -ac 1 -ar 16000 OUT.wav"
    )

    def __init__(self, file: str | os.PathLike[str] | BinaryIO, *, name: str = "") -> None:
        super().__init__()
        self._file = Path(file) if isinstance(file, (str, os.PathLike)) else file
        self.name = name or (str(file) if isinstance(self._file, Path) else "the audio")
        self._decoder: Decoder | None = None
        self._reset()

    def _reset(self) -> None:
        self._resampler: StreamResampler | None = None
        self._ready: Samples = np.zeros(0, np.float32)
        self._health = Health()
        self._mixer = Mixer()
        self._scale = FloatScale()
        self._read_s = 0.0
        self._ended = False

    def open(self) -> None:
        if self._decoder is not None:
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
        with caught(self.name):
            decoder = self._open_decoder()
        try:
            self._resampler = StreamResampler(decoder.rate_hz)
        except InputError as error:
            decoder.close()
            raise InputError(f"{self.name}: {error.what}", cure=error.cure) from None
        self._decoder = decoder

    def _open_decoder(self) -> Decoder:
        file = self._file
        at = 0 if isinstance(file, Path) else file.tell()
        try:
            decoder = SoundFileDecoder(file, _c_name(file) if isinstance(file, Path) else None)
        except soundfile.LibsndfileError as error:
            why = reason(error)
        except TypeError:
            # soundfile goes by the name alone here: it looks for no header in a .raw file.
            raise InputError(
                f"{self.name} is raw sound, of which no header speaks.",
                cure="Say what it holds, such as --raw s16le:16000; "
                "if it has a header, give it another name.",
            ) from None
        except OSError as error:
            raise InputError(f"{self.name} cannot be read: {error.strerror}.") from None
        else:
            if decoder.promises_nothing:
                decoder.close()
                raise InputError(
                    f"{self.name} holds no samples.", cure="Record it again or name another file."
                )
            if decoder.subtype in ("FLOAT", "DOUBLE"):
                self._look_for_scale(at)
            return decoder
        if not isinstance(file, Path):
            file.seek(at)
        container = open_container(file, self.name)
        if container is not None:
            return container
        raise InputError(
            f"{self.name} is not audio that can be read ({why}).",
            cure=self.cure,
        )

    def _look_for_scale(self, at: int) -> None:
        """Look ahead a minute: a quiet start does not show on which scale the numbers are."""
        if not isinstance(self._file, Path):
            self._file.seek(at)
        with closing(SoundFileDecoder(self._file)) as ahead, suppress(soundfile.LibsndfileError):
            for _ in range(_LOOK_AHEAD_BLOCKS):
                frames = ahead.read(max(1, min(ahead.rate_hz, _BLOCK_VALUES // ahead.channels)))
                if frames is None:
                    return
                self._scale.look(frames)

    @property
    def duration_s(self) -> float:
        """Seconds that the header claims; 0 before `open()`, and if it claims nothing."""
        return self._decoder.duration_s if self._decoder is not None else 0.0

    def _read(self, max_samples: int) -> Samples | None:
        if self._decoder is None or self._resampler is None:
            raise InputError(f"{self.name} is not open.", cure="Call open() first.")
        while not len(self._ready):
            if self._ended:
                return None
            with caught(self.name):
                self._ready = self._next_block(self._decoder, self._resampler)
        samples, self._ready = self._ready[:max_samples], self._ready[max_samples:]
        return samples

    def _next_block(self, decoder: Decoder, resampler: StreamResampler) -> Samples:
        rate_hz = resampler.rate_hz
        wanted = max(1, min(int(decoder.rate_hz * _BLOCK_S), _BLOCK_VALUES // decoder.channels))
        frames = decoder.read(wanted) if decoder.rate_hz == rate_hz else None
        if frames is not None:
            self._read_s += len(frames) / rate_hz
            mono = self._mixer.mix(self._health.check(self._scale.apply(frames)))
            self._check_health(at_end=False)
            pieces = [resampler.push(mono)]
        else:
            pieces = [resampler.push(np.zeros(0, np.float32), last=True)]
            # What was joined behind may have a rate of its own.
            self._ended = decoder.rate_hz == rate_hz
            if not self._ended:
                self._resampler = StreamResampler(decoder.rate_hz)
        for note in (*decoder.take_notes(), *self._mixer.take_notes(), *self._scale.take_notes()):
            self._warn(note)
        if self._ended:
            self._check_health(at_end=True)
            self._check_length(decoder)
        return pieces[0]

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

    def _check_length(self, decoder: Decoder) -> None:
        if self._read_s == 0:
            promised = f"its header promises {decoder.missing_s:.1f} s and nothing follows"
            why = promised if decoder.missing_s else "no sound follows its header"
            why = decoder.damage or why
            raise InputError(
                f"{self.name} is damaged ({why}); nothing could be read.",
                cure="Copy or record it again.",
            )
        if decoder.missing_s > 0:
            promised_s = self._read_s + decoder.missing_s
            why = f" ({decoder.damage})" if decoder.damage else ""
            self._warn(f"cut short{why}, {self._read_s:.1f} s of {promised_s:.1f} s could be read")

    def _warn(self, message: str) -> None:
        self._events.append(Warned(self._read_s, f"{self.name}: {message}."))

    def close(self) -> None:
        decoder, self._decoder = self._decoder, None
        if decoder is not None:
            with caught(self.name):
                decoder.close()
        self._ready = np.zeros(0, np.float32)
        self._resampler = None

    @property
    def nbytes(self) -> int:
        """Bytes of sound held now."""
        return int(self._ready.nbytes)


def _c_name(path: Path) -> str | bytes:
    """The name as libsndfile takes it: names are bytes, and need not be text, but on Windows."""
    return str(path) if os.name == "nt" else os.fsencode(path)


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
