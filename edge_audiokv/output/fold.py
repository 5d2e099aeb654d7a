"""Text for a terminal, broken between words; what goes to a file or a pipe stays as it is."""

from __future__ import annotations

import os
import re
import unicodedata
from typing import TextIO, cast

_USUAL_COLUMNS = 80
_STYLES = re.compile(r"\x1b\[[0-9;]*m")
# A name, and what a table says of it two spaces further on.
_ROW = re.compile(r" *\S.*?  +(?=\S)")


def columns_of(stream: object) -> int | None:
    """Columns of the terminal that `stream` is; None if it is none."""
    if stream is None:
        return None
    stream = cast(TextIO, stream)
    if not stream.isatty():
        return None
    try:
        return os.get_terminal_size(stream.fileno()).columns or _USUAL_COLUMNS
    except (OSError, ValueError):
        return _USUAL_COLUMNS


def fitted(text: str, stream: object, indent: int | None = None) -> str:
    """`text` with its lines folded if `stream` is a terminal; else as it is."""
    columns = columns_of(stream)
    if columns is None:
        return text
    return "\n".join(fold(line, columns, indent) for line in text.split("\n"))


def fold(line: str, columns: int, indent: int | None = None) -> str:
    """`line` broken between words, so that none is cut; the last column stays free.

    What goes on below is `indent` columns in; by default as far as the second column of a table.
    A word that is too long to stand there, such as a path, has a line of its own further left. One
    that no line holds begins a line, for the terminal to break, and to copy whole.
    """
    most = max(1, columns - 1)
    if _cells(line) <= most:
        return line
    if indent is None:
        row = _ROW.match(line)
        indent = _cells(row[0]) if row else len(line) - len(line.lstrip(" "))
    indent = indent if indent <= most // 2 else 2
    lead = len(line) - len(line.lstrip(" "))
    lines, used = [""], 0
    for space, word in re.findall(r"(\s*)(\S+)", line):
        cells = _cells(word)
        if used + len(space) + cells > most:
            places = (place for place in (indent, lead + 2, 0) if place <= indent)
            start = next((place for place in places if place + cells <= most), 0)
            if used > start:
                lines.append(" " * start)
                space, used = "", start
        lines[-1] += space + word
        used += len(space) + cells
        if used > columns:  # the terminal has broken it
            used %= columns
    return "\n".join(lines)


def _cells(text: str) -> int:
    """Columns that `text` takes."""
    if text.isascii() and "\x1b" not in text:
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 1 + (unicodedata.east_asian_width(char) in "WF")
        for char in _STYLES.sub("", text)
    )


class Folded:
    """A sink of whole lines that folds them for the terminal `stream`."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str, /) -> int:
        return self._stream.write(fitted(text, self._stream))

    def flush(self) -> None:
        self._stream.flush()
