"""A stretch of a file that looks like a file of its own, under a header that may be mended."""

from __future__ import annotations

import io
from typing import BinaryIO

_TAG_BYTES = 128  # ID3v1


class Window(io.RawIOBase):
    """`prefix`, then the bytes [start, end) of `file`, to read and seek in.

    `claimed_bytes` more are promised than there are, for decoders that stop at a length which they
    guess from that of the file: reading past the end gives nothing. `file` stays open.
    """

    def __init__(
        self, file: BinaryIO, start: int, end: int, *, prefix: bytes = b"", claimed_bytes: int = 0
    ) -> None:
        super().__init__()
        self._file = file
        self._start = start
        self._prefix = prefix
        self._size = len(prefix) + max(0, end - start)
        self._claimed = self._size + claimed_bytes
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._claimed}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: memoryview | bytearray) -> int:  # type: ignore[override]
        view = memoryview(buffer).cast("B")
        wanted = min(len(view), self._size - self._at)
        if wanted <= 0:
            if self._at < self._claimed - _TAG_BYTES:
                return 0
            # Decoders look for a tag at the end of a file before they begin.
            wanted = min(len(view), self._claimed - self._at)
            view[:wanted] = bytes(max(0, wanted))
            self._at += max(0, wanted)
            return max(0, wanted)
        head = self._prefix[self._at : self._at + wanted]
        view[: len(head)] = head
        count = len(head)
        if wanted > count:
            self._file.seek(self._start + self._at + count - len(self._prefix))
            data = self._file.read(wanted - count)
            view[count : count + len(data)] = data
            count += len(data)
        self._at += count
        return count


def find(file: BinaryIO, pattern: bytes, start: int) -> int:
    """Where `pattern` is in `file` at or after `start`; -1 if it is not. Reads 1 MiB at a time."""
    keep = len(pattern) - 1
    file.seek(start)
    tail = b""
    while data := file.read(1 << 20):
        at = (tail + data).find(pattern)
        if at >= 0:
            return start - len(tail) + at
        start += len(data)
        tail = (tail + data)[-keep:] if keep else b""
    return -1


def size_of(file: BinaryIO) -> int:
    """Bytes in `file`; its position stays."""
    at = file.tell()
    size = file.seek(0, io.SEEK_END)
    file.seek(at)
    return size
