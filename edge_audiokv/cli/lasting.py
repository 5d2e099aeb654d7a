"""A stream for people to look at, which may be closed in the middle of it."""

from __future__ import annotations

import errno
import io
import sys
from typing import TextIO


class Lasting(io.TextIOBase):
    """Writes to `stream`; what a closed window cannot show is lost, and nothing else is.

    The hang-up that comes with it ends the command in order. On standard output a reader that left
    is still told of: that is for the caller to know.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._holds_results = stream is sys.stdout

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding or "utf-8"

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def writable(self) -> bool:
        return True

    def write(self, text: str, /) -> int:
        try:
            self._stream.write(text)
        except OSError as error:
            self._bear(error)
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._bear(error)

    def _bear(self, error: OSError) -> None:
        if self._holds_results and error.errno != errno.EIO:
            raise error
