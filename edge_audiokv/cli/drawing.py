"""Whether what moves, such as a bar, may be drawn on a terminal: only where nobody else writes."""

from __future__ import annotations

import os
import signal
import stat
import sys
from typing import TextIO


def may_draw(stream: TextIO, *, behind: bool = False) -> bool:
    """Is `stream` a terminal that is ours alone?

    What reads a pipe of results (`| tee`) mostly writes to the same screen, as the shell does while
    a command runs in the background; who steps aside while it is there says so by `behind`.
    """
    if not stream.isatty():
        return False
    if stream is not sys.stdout and _is_pipe(sys.stdout):
        return False
    # So starts a shell without job control, as in a script, what runs behind it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        return False
    return behind or _in_front(stream)


def _is_pipe(stream: TextIO | None) -> bool:
    try:
        mode = os.fstat(stream.fileno()).st_mode if stream is not None else 0
    except (OSError, ValueError):  # no file at all
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _in_front(stream: TextIO) -> bool:
    """Whether the terminal is ours now; one that controls nobody always is."""
    try:
        return os.tcgetpgrp(stream.fileno()) == os.getpgrp()
    except (OSError, ValueError, AttributeError):  # Windows has no such groups
        return True
