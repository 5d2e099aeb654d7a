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
from pathlib import Path

import pyte

import edge_audiokv


class Terminal:
    """Runs `edge-audiokv ARGS` on a pseudo-terminal; `screen` is what is on it."""

    def __init__(self, *args: object, columns: int = 80, lines: int = 24, **variables: str) -> None:
        self.screen = pyte.HistoryScreen(columns, lines, history=1000, ratio=0.5)
        self.stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self._pty, theirs = pty.openpty()
        self.resize(columns, lines)
        root = str(Path(edge_audiokv.__file__).resolve().parents[1])
        environment = {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": root, **variables}
        environment.pop("NO_COLOR", None) if "NO_COLOR" not in variables else None
        self.process = subprocess.Popen(
            [sys.executable, "-m", "edge_audiokv", *map(str, args)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            start_new_session=True,
        )
        os.close(theirs)

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._pty, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.screen.resize(lines, columns)

    def finish(self, timeout_s: float = 120) -> int:
        """Read until the command ends; its exit code."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            ready, _, _ = select.select([self._pty], [], [], 0.2)
            if ready:
                try:
                    data = os.read(self._pty, 65536)
                except OSError:  # the other side is closed
                    break
                if not data:
                    break
                self.raw += data
                self.stream.feed(data)
            elif self.process.poll() is not None:
                break
        else:
            self.process.kill()
        os.close(self._pty)
        return self.process.wait(timeout=10)

    @property
    def lines(self) -> list[str]:
        """Everything on the screen, and above it, without empty lines at the end."""
        above = ["".join(row[x].data for x in sorted(row)) for row in self.screen.history.top]
        seen = [line.rstrip() for line in [*above, *self.screen.display]]
        while seen and not seen[-1]:
            seen.pop()
        return seen
