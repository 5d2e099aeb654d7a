"""M4A, MP4, WebM, MKV, AAC, WMA and others that libsndfile does not read, through PyAV.

PyAV (FFmpeg) is imported only for such a file. The format comes from the first bytes and is named
to FFmpeg, so no playlist is ever followed; FFmpeg gets the open file and no protocol, so no other
file and no address is opened.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from edge_audiokv.audio.source import Samples
from edge_audiokv.errors import InputError, MissingExtraError

_LEAST_GAP_S = 0.1
# Of all gaps together: more is no loss but a clock that jumped.
_MAX_GAP_S = 3600.0
# Values of one decoded frame; the longest of any codec has far fewer.
_MAX_FRAME_VALUES = 1 << 22
_MAX_CHANNELS = 64
# Packets in a row that could not be decoded.
_MAX_DAMAGED = 1000
# No other place is opened, whatever a file refers to, and the search for streams is bounded.
_OPTIONS = {
    "protocol_whitelist": "",
    "max_streams": "64",
    "probesize": str(1 << 22),
    "analyzeduration": str(5_000_000),
}
# Of a live stream, little is read before it is heard.
_LIVE_OPTIONS = {"probesize": "16384", "analyzeduration": "200000"}
INSTALL = "pip install 'edge-audiokv[av]'"


def container_format(head: bytes) -> tuple[str, str] | None:
    """FFmpeg's name of the format, and people's, from the first 16 bytes or more of a file."""
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return "mov", "MP4"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska", "Matroska or WebM"
    if head[:4] == b"\x30\x26\xb2\x75":
        return "asf", "WMA"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi", "AVI"
    if head[:3] == b"FLV":
        return "flv", "FLV"
    if head[:5] == b"#!AMR":
        return "amr", "AMR"
    if head[:4] == b"OggS":
        return "ogg", "Ogg"
    if head[:2] in (b"\xff\xf1", b"\xff\xf9", b"\xff\xf0", b"\xff\xf8"):
        return "aac", "AAC"
    if len(head) > 188 and head[0] == head[188] == 0x47:
        return "mpegts", "MPEG-TS"
    return None


def load_av(what: str) -> Any:
    """PyAV. Raises MissingExtraError that says what it is needed for."""
    try:
        return import_module("av")
    except ImportError:
        raise MissingExtraError(
            f"{what} needs PyAV, which is not installed.",
            cure=f"Run: {INSTALL}. Or convert it: ffmpeg -i IN -ac 1 -ar 16000 OUT.wav",
        ) from None


def open_container(file: Path | BinaryIO, name: str) -> AvDecoder | None:
    """A decoder if `file` is such a container, else None.

    Raises MissingExtraError without PyAV, and InputError if it holds no sound or is damaged.
    """
    opened = file.open("rb") if isinstance(file, Path) else file
    at = opened.tell()
    found = container_format(opened.read(400))
    opened.seek(at)
    try:
        if found is not None:
            kind, people = found
            av = load_av(f"{name} ({people})")
            return AvDecoder(av, opened, kind, name, close_file=isinstance(file, Path))
    except BaseException:
        if isinstance(file, Path):
            opened.close()
        raise
    if isinstance(file, Path):
        opened.close()
    return None


class AvDecoder:
    """The first audio stream of `file`. Times follow its positions: what is missing is silence."""

    def __init__(
        self,
        av: Any,
        file: BinaryIO,
        kind: str,
        name: str,
        *,
        close_file: bool = False,
        live: bool = False,
    ) -> None:
        self._file = file if close_file else None
        self._error = (av.error.FFmpegError, ValueError, EOFError, OSError)
        self._name = name
        self._notes: list[str] = []
        self._container: Any = None
        self._options = _OPTIONS | (_LIVE_OPTIONS if live else {})
        try:
            self._open(av, file, kind)
        except self._error as error:
            self.close()
            why = getattr(error, "strerror", None) or type(error).__name__
            raise InputError(
                f"{name} is not audio that can be read ({why}).",
                cure="Copy or record it again, or convert it: ffmpeg -i IN -ac 1 -ar 16000 OUT.wav",
            ) from None
        except BaseException:
            self.close()
            raise

    def _open(self, av: Any, file: BinaryIO, kind: str) -> None:
        self._container = container = av.open(
            file, format=kind, options=self._options, metadata_errors="replace"
        )
        streams = container.streams.audio
        if not streams:
            raise InputError(f"{self._name} holds no sound.", cure="Name a file that does.")
        stream = streams[0]
        if len(streams) > 1:
            self._notes.append(f"holds {len(streams)} audio streams; the first was read")
        context = stream.codec_context
        if context is None:
            raise InputError(
                f"{self._name} holds sound in a coding that is not known here.",
                cure="Convert it: ffmpeg -i IN -ac 1 -ar 16000 OUT.wav",
            )
        self.rate_hz = int(context.sample_rate or 0)
        self.channels = int(context.channels or 0)
        if self.rate_hz < 1 or not 1 <= self.channels <= _MAX_CHANNELS:
            raise InputError(
                f"{self._name} says nothing sound about its rate and channels "
                f"({self.rate_hz} Hz, {self.channels}).",
                cure="Convert it: ffmpeg -i IN -ac 1 -ar 16000 OUT.wav",
            )
        duration = container.duration
        self.duration_s = max(0.0, duration / 1e6) if duration else 0.0
        self.missing_s = 0.0
        self.damage = ""
        self._av = av
        self._packets = container.demux(stream)
        self._frames: list[Any] = []
        self._resampler = self._make_resampler(context.layout.name)
        self._block: Samples = np.zeros((0, self.channels), np.float32)
        self._kind: tuple[int, int, str] | None = None
        self._silence = 0
        self._given = 0
        self._base_s: float | None = None
        self._damaged = 0
        self._gaps, self._gap_s = 0, 0.0
        self._ended = False

    def _make_resampler(self, layout: str) -> Any:
        return self._av.AudioResampler(format="flt", layout=layout, rate=self.rate_hz)

    def read(self, max_frames: int) -> Samples | None:
        """float32 [S, C], S <= `max_frames`; None at the end."""
        while True:
            if self._silence:
                count = min(self._silence, max_frames)
                self._silence -= count
                self._given += count
                return np.zeros((count, self.channels), np.float32)
            if len(self._block):
                frames, self._block = self._block[:max_frames], self._block[max_frames:]
                self._given += len(frames)
                return frames
            if self._frames:
                self._take(self._frames.pop(0))
            elif self._ended:
                return None
            else:
                self._decode()

    def _decode(self) -> None:
        try:
            packet = next(self._packets, None)
        except self._error:
            packet = None
        if packet is None:
            self._end()
            return
        try:
            self._frames += packet.decode()
            self._damaged = 0
        except EOFError:
            self._end()
        except self._error:
            # What one packet lost shows as a gap in the positions of the next.
            self._damaged += 1
            if self._damaged > _MAX_DAMAGED:
                self._end()

    def _end(self) -> None:
        self._ended = True
        if self._gaps:
            places = f"{self._gaps} places" if self._gaps > 1 else "one place"
            self._notes.append(
                f"{self._gap_s:.1f} s are missing in {places}; silence stands for them"
            )

    def _take(self, frame: Any) -> None:
        """A decoded frame to float32, after the silence that its position asks for."""
        n_channels = frame.layout.nb_channels
        if frame.samples * n_channels > _MAX_FRAME_VALUES or n_channels > _MAX_CHANNELS:
            return
        kind = frame.sample_rate, n_channels, frame.format.name
        if kind != self._kind:
            # Other sound from here on; FFmpeg brings it to what the stream began with.
            self._kind = kind
            self._resampler = self._make_resampler(self._resampler.layout.name)
        if frame.pts is not None and frame.time_base is not None:
            position_s = float(frame.pts * frame.time_base)
            if self._base_s is None:
                self._base_s = position_s
            gap_s = position_s - self._base_s - self._given / self.rate_hz
            if _LEAST_GAP_S < gap_s <= _MAX_GAP_S - self._gap_s:
                self._silence = round(gap_s * self.rate_hz)
                self._gaps += 1
                self._gap_s += gap_s
            elif abs(gap_s) > _LEAST_GAP_S:
                # A clock that went back, as where files were joined: count from here.
                self._base_s = position_s - self._given / self.rate_hz
        frame.pts = None
        try:
            made = [piece.to_ndarray() for piece in self._resampler.resample(frame)]
        except self._error:
            return
        if made:
            self._block = np.concatenate(made, axis=1).reshape(-1, self.channels)

    def take_notes(self) -> list[str]:
        """What a person should know, since the last call."""
        notes, self._notes = self._notes, []
        return notes

    def close(self) -> None:
        container, self._container = self._container, None
        self._packets = iter(())
        if container is not None:
            container.close()
        file, self._file = self._file, None
        if file is not None:
            file.close()
