"""How many frames a WAV header promises, to tell a cut file from a whole one."""

from __future__ import annotations

import struct
from pathlib import Path

# Recorders that stream write these lengths because they cannot know the real one.
_UNKNOWN_LENGTHS = (0, 0xFFFFFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0x7FFFF000, 0x7FFFFFDB)
_MAX_CHUNKS = 64


def declared_frames(path: Path) -> int | None:
    """Frames in the `data` chunk as declared; None if unknown, streamed or not RIFF.

    Format: RIFF/WAVE chunks, each an id, a little-endian length and a body padded to even.
    """
    with path.open("rb") as file:
        head = file.read(12)
        if len(head) < 12 or head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return None
        block_align = 0
        for _ in range(_MAX_CHUNKS):
            chunk = file.read(8)
            if len(chunk) < 8:
                return None
            name, length = struct.unpack("<4sI", chunk)
            if name == b"data":
                if length in _UNKNOWN_LENGTHS or not block_align:
                    return None
                return int(length // block_align)
            if name == b"fmt " and length >= 16:
                body = file.read(16)
                if len(body) < 16:
                    return None
                block_align = struct.unpack_from("<H", body, 12)[0]
                length -= 16
            file.seek(length + (length & 1), 1)
    return None
