"""What a WAV header claims, and what the file behind it holds.

Format: RIFF/WAVE chunks, each an id, a little-endian length and a body padded to even. Recorders
that stream or crash leave lengths that say nothing, so a length is a claim to be checked.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from edge_audiokv.audio.files.window import Window, size_of
from edge_audiokv.audio.source import Samples

_MAX_CHUNKS = 64
# Below this a length may be true; at or above it, recorders write what stands for "unknown".
_LEAST_PLACEHOLDER = 0x7FFF0000
# More than this is no sound: random bytes have 0.58, text has more.
_MAX_RMS = 0.45
_JUDGED_BYTES = 1 << 16
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
KNOWN = {(PCM, 8), (PCM, 16), (PCM, 24), (PCM, 32), (FLOAT, 32), (FLOAT, 64)}


@dataclass(frozen=True)
class WavHeader:
    """The format, and where the sound starts, in bytes from the start of `RIFF`."""

    kind: int
    channels: int
    rate_hz: int
    bits: int
    block_align: int
    fmt_at: int
    data_at: int
    riff_bytes: int
    data_bytes: int

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame: from the format where that says it, for the header may be wrong."""
        if self.kind in (PCM, FLOAT) and self.bits % 8 == 0 and self.bits:
            return self.channels * self.bits // 8
        return self.block_align

    @property
    def unknown_length(self) -> bool:
        """Whether the length stands for one that was not known when the header was written."""
        return (
            self.data_bytes >= _LEAST_PLACEHOLDER
            or (self.data_bytes >= 10**9 and self.data_bytes % 10**6 == 0)
            # A header that contradicts itself was never finished.
            or (self.data_bytes > 0 and self.riff_bytes < self.data_bytes)
        )


def parse_header(data: bytes) -> WavHeader | int:
    """The header in the first bytes of a WAV file, or how many bytes it takes to go on.

    Raises ValueError if it is none.
    """
    if len(data) < 12:
        return 12
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise ValueError("no RIFF/WAVE header")
    at, fmt_at, fields = 12, 0, (0, 0, 0, 0, 0, 0)
    for _ in range(_MAX_CHUNKS):
        if len(data) < at + 8:
            return at + 8
        name, length = bytes(data[at : at + 4]), int.from_bytes(data[at + 4 : at + 8], "little")
        if name == b"data":
            if not fmt_at:
                raise ValueError("its format does not come before its sound")
            kind, channels, rate_hz, _, block_align, bits = fields
            riff_bytes = int.from_bytes(data[4:8], "little")
            return WavHeader(
                kind, channels, rate_hz, bits, block_align, fmt_at, at + 8, riff_bytes, length
            )
        if name == b"fmt ":
            if length < 16:
                raise ValueError("its format is cut short")
            if len(data) < at + 8 + min(length, 40):
                return at + 8 + min(length, 40)
            fields = struct.unpack_from("<HHIIHH", data, at + 8)
            if fields[0] == EXTENSIBLE and length >= 40:
                fields = (struct.unpack_from("<H", data, at + 32)[0], *fields[1:])
            fmt_at = at + 8
        at += 8 + length + (length & 1)
    raise ValueError("too many chunks before its sound")


@dataclass(frozen=True)
class WavPart:
    """One recording in a file: its bytes, what the header promises, and what is odd about it."""

    header: WavHeader
    start: int
    end: int
    mended: Window | None
    promised_frames: int | None
    note: str = ""


def wav_part(file: BinaryIO, start: int) -> WavPart | None:
    """The recording that starts at byte `start` of `file`; None if there is none."""
    header = _header_at(file, start)
    if header is None or not header.frame_bytes:
        return None
    size = size_of(file)
    data_at = start + header.data_at
    there = size - data_at
    frame_bytes = header.frame_bytes
    plain = header.kind in (PCM, FLOAT)
    claimed, end, note = header.data_bytes, size, ""
    if claimed < there and not (claimed and header.unknown_length):
        end = data_at + claimed + (claimed & 1)
        left = size - min(end, size)
        if left >= frame_bytes and not _chunks_follow(file, end, size):
            seconds = left / frame_bytes / max(1, header.rate_hz)
            if plain and _looks_like_sound(file, header, end):
                note = (
                    f"its header tells of {claimed} bytes of sound and {there} are there; "
                    "all of them were read"
                    if claimed
                    else "its header was never finished; it was read to its end"
                )
                end = size
            elif plain and _holds_anything(file, end):
                note = f"{left} bytes ({seconds:.1f} s) after its sound are no sound"
    promised = None if header.unknown_length or note else claimed // frame_bytes
    wrong_align = plain and header.block_align != frame_bytes
    whole = start == 0 and end - data_at <= claimed
    if whole and not wrong_align:
        return WavPart(header, start, end, None, promised, note)
    file.seek(start)
    head = bytearray(file.read(header.data_at))
    data_bytes = min(max(0, end - data_at), 0xFFFFFFFF - len(head))
    struct.pack_into("<I", head, 4, data_bytes + len(head) - 8)
    struct.pack_into("<I", head, len(head) - 4, data_bytes)
    if plain:
        rate = min(header.rate_hz * frame_bytes, 0xFFFFFFFF)
        struct.pack_into("<IH", head, header.fmt_at + 8, rate, min(frame_bytes, 0xFFFF))
    window = Window(file, data_at, end, prefix=bytes(head))
    return WavPart(header, start, end, window, promised, note)


def _header_at(file: BinaryIO, start: int) -> WavHeader | None:
    wanted = 4096
    while True:
        file.seek(start)
        data = file.read(wanted)
        try:
            found = parse_header(data)
        except ValueError:
            return None
        if isinstance(found, WavHeader):
            return found
        if found <= len(data) or len(data) < wanted or found > 1 << 24:
            return None
        wanted = found + 4096


def _chunks_follow(file: BinaryIO, at: int, size: int) -> bool:
    """Whether the rest is what may follow the sound: chunks, a tag, or another recording."""
    for _ in range(_MAX_CHUNKS):
        if at >= size:
            return True
        file.seek(at)
        head = file.read(8)
        if head[:4] == b"RIFF" or head[:3] in (b"TAG", b"ID3"):
            return True
        if len(head) < 8:
            return not head.strip(b"\0")
        name, length = struct.unpack("<4sI", head)
        if not all(32 <= byte < 127 for byte in name) or length > size - at:
            return False
        at += 8 + length + (length & 1)
    return False


def _holds_anything(file: BinaryIO, at: int) -> bool:
    file.seek(at)
    return bool(file.read(_JUDGED_BYTES).strip(b"\0"))


def _looks_like_sound(file: BinaryIO, header: WavHeader, at: int) -> bool:
    if not _holds_anything(file, at):
        return False
    data_at = at - (at - header.data_at) % header.frame_bytes
    file.seek(data_at)
    if (header.kind, header.bits) not in KNOWN:
        return False
    values = to_float(file.read(_JUDGED_BYTES), header.kind, header.bits)
    if not len(values) or not np.isfinite(values).all():
        return False
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64)))) < _MAX_RMS


def to_float(data: bytes, kind: int, bits: int) -> Samples:
    """Interleaved samples of WAV as float32, full scale 1, for the layouts in `KNOWN`."""
    width = bits // 8
    data = data[: len(data) - len(data) % width] if width else b""
    if kind == FLOAT and bits in (32, 64):
        return np.frombuffer(data, f"<f{width}").astype(np.float32)
    if kind == PCM and bits == 8:
        return ((np.frombuffer(data, "u1").astype(np.float32) - 128) / 128).astype(np.float32)
    if kind == PCM and bits == 24:
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        return (wide.reshape(-1).view("<i4") / 2**31).astype(np.float32)
    return (np.frombuffer(data, f"<i{width}") / float(1 << (bits - 1))).astype(np.float32)
