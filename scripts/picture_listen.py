#!/usr/bin/env python
"""Take a picture of `edge-audiokv listen`: the real command hears real speech on a terminal.

python scripts/picture_listen.py                 # docs/listen.svg, from clips of tests/data
python scripts/picture_listen.py talk.flac --out talk.svg --ask "What was decided?" --typed "and"

It asks once something is written down, and waits until more is being said; pip install pyte.
"""

from __future__ import annotations

import argparse
import fcntl
import io
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import numpy as np
import pyte
import soundfile
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import TerminalTheme
from rich.text import Text

ROOT = Path(__file__).parents[1]
NAMES = ("garden", "letter", "harbour")
CLIPS = [ROOT / "tests" / "data" / f"{name}.flac" for name in NAMES]
PAUSE_S = 1.0
QUIET = 0.01
RATE_HZ = 16_000
# A partial of so many words is worth a picture.
ENOUGH_WORDS = 4
BACKGROUND, FOREGROUND = (24, 26, 31), (222, 222, 222)
COLOURS = [(24, 26, 31), (232, 98, 92), (112, 200, 112), (230, 200, 90)]
COLOURS += [(96, 150, 240), (200, 130, 220), (90, 195, 205), (222, 222, 222)]
THEME = TerminalTheme(BACKGROUND, FOREGROUND, COLOURS)


def joined(clips: list[Path], folder: str) -> Path:
    """One file of all clips, without the silence at their ends, a pause after each."""
    pieces = []
    for clip in clips:
        samples, rate_hz = soundfile.read(clip, dtype="float32", always_2d=True)
        if rate_hz != RATE_HZ:
            sys.exit(f"picture_listen: {clip} is not at {RATE_HZ} Hz.")
        mono = samples.mean(axis=1)
        loud = np.flatnonzero(np.abs(mono) > QUIET)
        pieces += [mono[loud[0] : loud[-1]], np.zeros(int(PAUSE_S * RATE_HZ), np.float32)]
    path = Path(folder) / "talk.wav"
    soundfile.write(path, np.concatenate(pieces), RATE_HZ)
    return path


class Screen:
    """A command on a terminal of its own, and what is on it."""

    def __init__(self, argv: list[str], columns: int, lines: int) -> None:
        self.shown = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.shown)
        self._pty, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color"}
        environment.pop("NO_COLOR", None)
        self.process = subprocess.Popen(
            argv, stdin=theirs, stdout=theirs, stderr=theirs, env=environment
        )
        os.close(theirs)

    def type(self, text: str) -> None:
        os.write(self._pty, text.encode())

    @property
    def rows(self) -> list[str]:
        rows = [row.rstrip() for row in self.shown.display]
        while rows and not rows[-1]:
            rows.pop()
        return rows

    def until(self, seen: Callable[[list[str]], bool], timeout_s: float = 180) -> bool:
        """Read until `seen` is true of the rows; False if that never comes."""
        deadline = time.monotonic() + timeout_s
        while not seen(self.rows):
            if select.select([self._pty], [], [], 0.1)[0]:
                try:
                    self._stream.feed(os.read(self._pty, 65536))
                except OSError:
                    return False
            if self.process.poll() is not None or time.monotonic() > deadline:
                return False
        return True

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.until_end()
        os.close(self._pty)

    def until_end(self) -> None:
        """Let it end: nobody may write to a terminal that nobody reads."""
        deadline = time.monotonic() + 60
        while self.process.poll() is None and time.monotonic() < deadline:
            if select.select([self._pty], [], [], 0.1)[0]:
                try:
                    os.read(self._pty, 65536)
                except OSError:
                    break
        self.process.kill()
        self.process.wait()


def text_of(screen: pyte.Screen, n_rows: int) -> Text:
    """The first rows of a screen with their styles."""
    text = Text()
    for y in range(n_rows):
        chars = [screen.buffer[y][x] for x in range(screen.columns)]
        for style, run in groupby(chars, _style):
            text.append("".join(char.data for char in run), style)
        text.append("\n")
    return text


def _style(char: pyte.screens.Char) -> Style:
    return Style(
        color=_colour(char.fg),
        bgcolor=_colour(char.bg),
        bold=char.bold,
        italic=char.italics,
        # pyte forgets what is dim; words that may still change are also italic.
        dim=char.italics,
        reverse=char.reverse,
    )


def _colour(name: str) -> str | None:
    if name == "default":
        return None
    name = {"brown": "yellow"}.get(name, name)
    return f"#{name}" if re.fullmatch("[0-9a-f]{6}", name) else name.replace("bright", "bright_")


def svg_of(text: Text, columns: int, title: str) -> str:
    """The picture; it names no font that would have to be fetched."""
    console = Console(record=True, width=columns, file=io.StringIO(), force_terminal=True)
    console.print(text, end="")
    svg = console.export_svg(title=title, theme=THEME, unique_id="listen")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.S)
    return svg.replace("Fira Code", "ui-monospace, Menlo, Consolas")


@contextmanager
def listening(sound: Path, columns: int, lines: int, mem: str) -> Iterator[Screen]:
    command = [sys.executable, "-m", "edge_audiokv", "listen", str(sound), "--realtime"]
    screen = Screen([*command, "--mem", mem], columns, lines)
    try:
        yield screen
    finally:
        screen.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("clips", nargs="*", type=Path, help="sound files at 16 kHz")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "listen.svg")
    parser.add_argument("--ask", default="What was in the garden?", help="asked and answered")
    parser.add_argument("--typed", default="where did the old man", help="typed and not sent")
    parser.add_argument("--columns", type=int, default=80)
    parser.add_argument("--lines", type=int, default=24)
    parser.add_argument("--mem", default="1GB", help="cap on the whole process")
    args = parser.parse_args()

    picture: list[tuple[Text, list[str]]] = []

    def look(rows: list[str]) -> bool:
        """Keep a picture of somebody being heard; the best is of the middle of a sentence."""
        if rows[-1:] != [f"> {args.typed}"] or len(rows[-2].split()) < ENOUGH_WORDS:
            return False
        picture[:] = [(text_of(screen.shown, len(rows)), rows)]
        return any("listening" in row and "█" in row for row in rows)

    with (
        tempfile.TemporaryDirectory() as folder,
        listening(
            joined(args.clips or CLIPS, folder), args.columns, args.lines, args.mem
        ) as screen,
    ):
        if screen.until(lambda rows: any(re.match(r"\d\d:\d\d:\d\d ", row) for row in rows)):
            screen.type(f"{args.ask}\r")
        if screen.until(lambda rows: any(row.startswith("A: ") for row in rows)):
            screen.type(args.typed)
        screen.until(look)
        left = screen.rows
    if not picture:
        sys.exit("picture_listen: what was to be seen never came:\n" + "\n".join(left))
    text, rows = picture[0]
    svg = svg_of(text, args.columns, "edge-audiokv listen")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(svg, encoding="utf-8")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
