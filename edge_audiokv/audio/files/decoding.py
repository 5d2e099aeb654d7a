"""Files decoded to their end, whatever their headers claim, with libsndfile.

A container's length is a claim: it is told to people and compared afterwards, but reading goes on
until the decoder gives no more, and then with the recording that was joined behind, if any.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import soundfile

from edge_audiokv.audio.files.links import has_mp3_length, next_flac, next_mp3
from edge_audiokv.audio.files.ogg import OggGaps, next_link
from edge_audiokv.audio.files.riff import WavPart, wav_part
from edge_audiokv.audio.files.window import Window, size_of
from edge_audiokv.audio.source import Samples

# A guess of libsndfile at an MP3's length is out by less; reading stops at the real end.
_MP3_CLAIM = 64
# More than any recording: FLAC and pipes say so when the length is not known.
_UNKNOWN_FRAMES = 1 << 48
_MAX_PARTS = 10_000
_MAX_DAMAGES = 1000


_NEXT = {"FLAC": next_flac, "MP3": next_mp3, "OGG": next_link}


class Decoder(Protocol):
    """Sound of one file, block by block. `rate_hz` and `channels` may change between blocks."""

    rate_hz: int
    channels: int
    # What can be expected, for people; 0 if nobody knows.
    duration_s: float

    def read(self, max_frames: int) -> Samples | None:
        """float32 [S, C], S <= `max_frames` and perhaps 0; None at the end."""

    def take_notes(self) -> list[str]:
        """What a person should know, since the last call."""

    # Seconds that the header promised and that did not come, and why; known at the end.
    missing_s: float
    damage: str

    def close(self) -> None: ...


class _Stream(soundfile.SoundFile):  # type: ignore[misc]
    """Reads on to the end: soundfile would stop at the frames that the header counts, and seek to
    them after each block, which loses the last one where that count is wrong."""

    def seekable(self) -> bool:
        return False


class SoundFileDecoder:
    """What libsndfile reads. Raises soundfile.LibsndfileError, or TypeError for raw sound."""

    def __init__(self, file: Path | BinaryIO, c_name: str | bytes | None = None) -> None:
        self._owned = file.open("rb") if isinstance(file, Path) else None
        self._file: BinaryIO = self._owned or file  # type: ignore[assignment]
        self._origin = 0 if self._owned else self._file.tell()
        self._sound: _Stream | None = None
        self._notes: list[str] = []
        self._parts = 0
        self.missing_s = 0.0
        self.damage = ""
        self.duration_s = 0.0
        self._gaps: OggGaps | None = None
        self._wav: WavPart | None = None
        try:
            self._open(self._origin, c_name)
        except BaseException:
            self.close()
            raise

    def _open(self, start: int, c_name: str | bytes | None = None) -> None:
        file = self._file
        self._read_frames = 0
        self._gaps, self._damage, self._damages = None, "", 0
        self._parts += 1
        size = size_of(file)
        self._wav = part = wav_part(file, start)
        self._next: int | None = None
        if part is not None:
            target = part.mended or c_name or Window(file, start, part.end)
            if part.end < size and wav_part(file, part.end) is not None:
                self._next = part.end
            if part.note:
                self._notes.append(part.note)
        else:
            target = c_name or Window(file, start, size)
        sound = _Stream(target)
        claimed = sound.frames if sound.frames < _UNKNOWN_FRAMES else 0
        counted = sound.format not in ("WAV", "WAVEX", "OGG")
        if sound.format in _NEXT:
            self._next = _NEXT[sound.format](file, start)
            end = self._next or size
            guessed = sound.format == "MP3" and not has_mp3_length(file, start)
            if guessed or end < size:
                # A decoder that sees what follows takes it for damage.
                more = (end - start) * (_MP3_CLAIM - 1) if guessed else 0
                sound.close()
                sound = _Stream(Window(file, start, end, claimed_bytes=more))
                counted = counted and not guessed
            if sound.format == "OGG":
                self._gaps = OggGaps(file, start, end, sound.samplerate)
        self._sound, self.rate_hz, self.channels = sound, sound.samplerate, sound.channels
        promised = part.promised_frames if part is not None else None
        self._expected = promised or (claimed if counted else 0)
        if self._parts == 1:
            self.duration_s = max(claimed, 0) / sound.samplerate

    @property
    def format(self) -> str:
        return str(self._sound.format) if self._sound is not None else ""

    @property
    def subtype(self) -> str:
        return str(self._sound.subtype) if self._sound is not None else ""

    @property
    def promises_nothing(self) -> bool:
        """Whether the header counts no frames, and is believed."""
        return self.duration_s == 0 and not self._expected and self.format not in ("FLAC", "OGG")

    def read(self, max_frames: int) -> Samples | None:
        sound = self._sound
        if sound is None:
            return None
        if self._gaps is not None:
            filled = self._gaps.silence(self._read_frames, max_frames, self.channels)
            if filled is not None:
                return filled
            max_frames = self._gaps.until_next(self._read_frames, max_frames)
        frames, damage = _read_block(sound, max_frames)
        self._read_frames += len(frames)
        if damage:
            self._damages += 1
            if not self._damage:
                self._damage = f"{damage} after {self._read_frames / self.rate_hz:.1f} s"
        # Behind a damaged place the decoder may find its way again.
        if (not damage and len(frames) < max_frames) or self._damages > _MAX_DAMAGES:
            self._end_part()
        return frames

    def _end_part(self) -> None:
        """Go on with what was joined behind; without any, `_sound` is None."""
        if self._gaps is not None:
            self._notes += self._gaps.notes()
        if self._damage and self._expected <= self._read_frames:
            self._notes.append(f"is damaged ({self._damage})")
        if self._expected > self._read_frames:
            self.damage = self.damage or self._damage
            self.missing_s += (self._expected - self._read_frames) / self.rate_hz
        sound, self._sound = self._sound, None
        if sound is not None:
            sound.close()
        start = self._next
        if start is not None and self._parts < _MAX_PARTS:
            try:
                self._open(start)
            except (soundfile.LibsndfileError, TypeError):
                left_bytes = size_of(self._file) - start
                self._notes.append(f"the last {left_bytes} bytes could not be read")

    def take_notes(self) -> list[str]:
        notes, self._notes = self._notes, []
        return notes

    def close(self) -> None:
        sound, self._sound = self._sound, None
        if sound is not None:
            sound.close()
        owned, self._owned = self._owned, None
        if owned is not None:
            owned.close()


def _read_block(sound: _Stream, max_frames: int) -> tuple[Samples, str]:
    """float32 [S, C] and what went wrong, if anything did.

    With an error soundfile does not say how much came before it: the rest is still NaN then.
    """
    frames = np.full((max_frames, sound.channels), np.nan, np.float32)
    try:
        count = len(sound.read(max_frames, out=frames))
    except soundfile.LibsndfileError as error:
        empty = np.isnan(frames[:, 0])
        count = int(empty.argmax()) if empty.any() else max_frames
        return frames[:count], reason(error)
    return frames[:count], ""


def reason(error: soundfile.LibsndfileError) -> str:
    text: str = error.error_string.removeprefix("Error : ").rstrip(".")
    # What libsndfile says of damaged MP3; whether the file is there was looked at before.
    return "damaged, or of an unknown format" if "does not exist" in text else text
