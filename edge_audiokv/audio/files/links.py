"""Where the next recording starts in files that were joined with `cat a b > c`.

Decoders stop at the end of the first one, or at the length that its header claims.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

from edge_audiokv.audio.files.window import find

_FLAC = b"fLaC\x00\x00\x00\x22"


def next_flac(file: BinaryIO, start: int) -> int | None:
    """The start of the FLAC stream after the one at `start`."""
    at = find(file, _FLAC, start + 1)
    return at if at > 0 else None


def next_mp3(file: BinaryIO, start: int) -> int | None:
    """The frame with the next Xing or Info header, which begins each file that an encoder made."""
    found = []
    for mark in (b"Xing\x00\x00\x00", b"Info\x00\x00\x00"):
        at = start
        while (at := find(file, mark, at + 1)) > 0:
            frame = _mp3_frame_before(file, at)
            if frame is not None and frame > start + 4096:
                found.append(frame)
                break
    return min(found, default=None)


def has_mp3_length(file: BinaryIO, start: int) -> bool:
    """Whether a header counts the frames; else their number is a guess from the first of them."""
    file.seek(start)
    head = file.read(1 << 16)
    return any(mark in head for mark in (b"Xing", b"Info", b"VBRI"))


def _mp3_frame_before(file: BinaryIO, mark_at: int) -> int | None:
    for side_bytes in (9, 17, 32):
        at = mark_at - 4 - side_bytes
        if at < 0:
            continue
        file.seek(at)
        word = struct.unpack(">I", file.read(4).ljust(4, b"\0"))[0]
        if word >> 21 == 0x7FF and (word >> 17) & 3 == 1 and (word >> 12) & 15 not in (0, 15):
            return at
    return None
