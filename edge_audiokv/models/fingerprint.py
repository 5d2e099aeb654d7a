"""Name a file's content without reading all of it.

A GGUF header is the same for every set of weights of one shape, so it cannot tell a retrained model
from the one before. Training moves nearly every weight: blocks from all over the file show it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

WHOLE_BYTES = 16 << 20  # smaller files are read in full
BLOCKS = 256
BLOCK_BYTES = 16 << 10


def fingerprint(path: Path) -> str:
    """64 hex digits that change with the content of `path`.

    SHA-256 over the size and the bytes; of files above WHOLE_BYTES over BLOCKS blocks of
    BLOCK_BYTES, spread evenly from the first byte to the last (4 MiB, about 10 ms). Meant to tell
    models apart, not to detect damage: for that whole files are verified (`download.ensure`).
    Raises OSError if the file cannot be read.
    """
    with path.open("rb") as stream:
        size_bytes = stream.seek(0, 2)
        digest = hashlib.sha256(f"{size_bytes}:".encode())
        if size_bytes <= WHOLE_BYTES:
            stream.seek(0)
            digest.update(stream.read())
            return digest.hexdigest()
        for block in range(BLOCKS):
            stream.seek((size_bytes - BLOCK_BYTES) * block // (BLOCKS - 1))
            digest.update(stream.read(BLOCK_BYTES))
    return digest.hexdigest()
