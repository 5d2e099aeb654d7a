"""Keep apart what is ours and what libraries of C write to the descriptors 1 and 2.

A decoder that meets damage, or a sound system that looks for devices, writes lines to wherever the
process writes. `apart()`, called once where the program starts, gives Python's own streams
descriptors of their own: results keep the real standard output alone, and from then on 1 leads to
standard error. Within `caught()` both are caught, and told once, in a line.

A library changes nothing of the program around it: without `apart()` nothing is caught.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import io
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TextIO, cast

from edge_audiokv.units import clipped, printable

_MOST_CHARS = 200
_MOST_SUBJECTS = 64
_PIPE_BYTES = 1 << 16

log = logging.getLogger("edge_audiokv.noise")
_lock = threading.RLock()


class _State:
    """`real` is a private descriptor of standard error; None until `apart()`."""

    real: int | None = None
    depth = 0
    tell: Callable[[str], None] | None = None
    told: set[str] = set()  # noqa: RUF012 - one for the process, as descriptors are


def apart() -> None:
    """Let results alone reach standard output; once a process.

    Children get standard error as their standard output, unless they are given another.
    """
    with _lock:
        if _State.real is not None:
            return
        sys.stdout = _moved(sys.stdout, 1)
        sys.stderr = _moved(sys.stderr, 2)
        try:
            real = os.dup(2)
        except OSError:  # whoever started us closed it
            real = os.open(os.devnull, os.O_WRONLY)
            os.dup2(real, 2)
        os.dup2(real, 1)
        _State.real = real
        if faulthandler.is_enabled():
            faulthandler.enable(real)  # also while 2 is caught


def tell_by(tell: Callable[[str], None]) -> None:
    """Who is told of noise; without, the logger `edge_audiokv.noise` is."""
    _State.tell = tell


@contextlib.contextmanager
def caught(subject: str) -> Iterator[TextIO]:
    """Within, what is written to 1 and 2 is caught; of `subject` it is told once.

    Gives a text stream for what Python code would print (`redirect_stdout`). At most 64 KiB are
    kept. Other threads' own words are not touched: Python's streams lead elsewhere.
    """
    printed = io.StringIO()
    words = ""
    with _lock:
        if _State.real is None or _State.depth:
            yield printed
        else:
            real = _State.real
            ours, theirs = os.pipe()
            # A full pipe that nobody waits for loses what comes then.
            os.set_blocking(ours, False)
            os.set_blocking(theirs, False)
            _flush_c()
            _State.depth += 1
            try:
                os.dup2(theirs, 1)
                os.dup2(theirs, 2)
                yield printed
            finally:
                _flush_c()
                os.dup2(real, 1)
                os.dup2(real, 2)
                _State.depth -= 1
                os.close(theirs)
                with contextlib.suppress(BlockingIOError):
                    words = os.read(ours, _PIPE_BYTES).decode("utf-8", "replace")
                os.close(ours)
    _tell(subject, printed.getvalue() + words)


def _tell(subject: str, words: str) -> None:
    lines = [line for line in map(printable, words.splitlines()) if line]
    if not lines or subject in _State.told or len(_State.told) >= _MOST_SUBJECTS:
        return
    _State.told.add(subject)
    more = f" (and {len(lines) - 1} more lines)" if len(lines) > 1 else ""
    line = f"{subject} says: {clipped(lines[0], _MOST_CHARS)}{more}"
    (_State.tell or log.warning)(line)


def _moved(stream: TextIO | None, number: int) -> TextIO:
    """The same stream on a descriptor that no library knows; any other stream as it is."""
    try:
        if not isinstance(stream, io.TextIOWrapper) or stream.fileno() != number:
            return cast(TextIO, stream)
        stream.flush()
        private = os.dup(number)
    except (OSError, ValueError):
        return cast(TextIO, stream)
    unbuffered = isinstance(stream.buffer, io.RawIOBase)
    return io.TextIOWrapper(
        cast(io.BufferedWriter, open(private, "wb", 0 if unbuffered else -1, closefd=False)),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _flush_c() -> None:
    """Write out what C's own streams hold back; POSIX only."""
    if os.name == "posix":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).fflush(None)
