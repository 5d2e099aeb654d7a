"""A command on a terminal of a given size, and the screen that a person would see."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pyte

import edge_audiokv

# Makes the terminal at stderr the one that controls the command, as a shell does: keys become
# signals, and /dev/tty is there.
_LAUNCH = """
import fcntl, os, sys, termios
fcntl.ioctl(2, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """Runs `edge-audiokv ARGS`, or `argv`, on a pseudo-terminal; `screen` is what is on it."""

    def __init__(
        self,
        *args: object,
        columns: int = 80,
        lines: int = 24,
        argv: list[str] | None = None,
        stdin: int | None = None,
        stdout: int | None = None,
        **variables: str,
    ) -> None:
        self.screen = pyte.HistoryScreen(columns, lines, history=1000, ratio=0.5)
        self.stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self._pty, self._theirs = pty.openpty()
        self.modes_before = termios.tcgetattr(self._theirs)
        self.resize(columns, lines)
        root = str(Path(edge_audiokv.__file__).resolve().parents[1])
        environment = {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": root, **variables}
        environment.pop("NO_COLOR", None) if "NO_COLOR" not in variables else None
        argv = argv or [sys.executable, "-m", "edge_audiokv", *map(str, args)]
        self.process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCH, *argv],
            stdin=self._theirs if stdin is None else stdin,
            stdout=self._theirs if stdout is None else stdout,
            stderr=self._theirs,
            env=environment,
            start_new_session=True,
        )

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._pty, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.screen.resize(lines, columns)

    def type(self, data: bytes) -> None:
        os.write(self._pty, data)

    def read(self, timeout_s: float = 0.1) -> bool:
        """Take in what came; False if nothing did."""
        if not select.select([self._pty], [], [], timeout_s)[0]:
            return False
        data = os.read(self._pty, 65536)
        self.raw += data
        self.stream.feed(data)
        return True

    def until(self, seen: Callable[[list[str]], object], timeout_s: float = 120) -> None:
        """Read until `seen` is true of the lines on the screen."""
        deadline = time.monotonic() + timeout_s
        while not seen(self.lines):
            gone = self.process.poll() is not None
            if not self.read() and (gone or time.monotonic() > deadline):
                raise AssertionError("it never came:\n" + "\n".join(self.lines))

    def until_words(self, words: str, timeout_s: float = 120) -> None:
        self.until(lambda lines: any(words in line for line in lines), timeout_s)

    def until_written(self, words: bytes, since: int) -> None:
        """Read until `words` are written anew, after the first `since` bytes of `raw`: what is on
        the screen may be old."""
        self.until(lambda _lines: words in self.raw[since:])

    def finish(self, timeout_s: float = 120) -> int:
        """Read until the command ends; its exit code."""
        deadline = time.monotonic() + timeout_s
        while self.process.poll() is None:
            self.read()
            if time.monotonic() > deadline:
                self.process.kill()
        while self.read(0.0):
            pass
        return self.process.wait(timeout=10)

    def hang_up(self) -> None:
        """The window is closed."""
        nowhere = os.open(os.devnull, os.O_RDWR)
        for handle in (self._pty, self._theirs):
            os.dup2(nowhere, handle)
        os.close(nowhere)

    @property
    def modes(self) -> list[Any]:
        return termios.tcgetattr(self._theirs)

    @property
    def unread(self) -> int:
        """Bytes that were typed and would go to the next command."""
        modes = termios.tcgetattr(self._theirs)
        raw = [*modes]
        raw[3] &= ~termios.ICANON
        termios.tcsetattr(self._theirs, termios.TCSANOW, raw)
        count = fcntl.ioctl(self._theirs, termios.FIONREAD, struct.pack("i", 0))
        termios.tcsetattr(self._theirs, termios.TCSANOW, modes)
        return int(struct.unpack("i", count)[0])

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(timeout=10)
        for handle in (self._pty, self._theirs):
            os.close(handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def lines(self) -> list[str]:
        """Everything on the screen, and above it, without empty lines at the end."""
        above = ["".join(row[x].data for x in sorted(row)) for row in self.screen.history.top]
        seen = [line.rstrip() for line in [*above, *self.screen.display]]
        while seen and not seen[-1]:
            seen.pop()
        return seen
