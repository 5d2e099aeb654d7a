"""A terminal's bytes as keys and text, however reads cut them; pasted text is bounded."""

from __future__ import annotations

import codecs
from enum import Enum, auto


class Key(Enum):
    """Keys that are no text."""

    ENTER = auto()
    BACKSPACE = auto()
    DELETE = auto()
    LEFT = auto()
    RIGHT = auto()
    HOME = auto()
    END = auto()
    UP = auto()
    DOWN = auto()
    CLEAR = auto()
    """All before the cursor, Ctrl-U."""
    CUT_WORD = auto()
    """The word before the cursor, Ctrl-W."""
    CUT_REST = auto()
    """All from the cursor on, Ctrl-K."""


_CONTROLS = {
    "\r": Key.ENTER,
    "\n": Key.ENTER,
    "\x7f": Key.BACKSPACE,
    "\b": Key.BACKSPACE,
    "\x01": Key.HOME,
    "\x02": Key.LEFT,
    "\x04": Key.DELETE,
    "\x05": Key.END,
    "\x06": Key.RIGHT,
    "\x0b": Key.CUT_REST,
    "\x0e": Key.DOWN,
    "\x10": Key.UP,
    "\x15": Key.CLEAR,
    "\x17": Key.CUT_WORD,
}
# By the last character of ESC [ ... and ESC O ...; a number before it names a modifier.
_FINALS = {
    "A": Key.UP,
    "B": Key.DOWN,
    "C": Key.RIGHT,
    "D": Key.LEFT,
    "F": Key.END,
    "H": Key.HOME,
}
# By the number of ESC [ number ~
_NUMBERS = {
    "1": Key.HOME,
    "3": Key.DELETE,
    "4": Key.END,
    "7": Key.HOME,
    "8": Key.END,
}
_ESCAPE = "\x1b"
_PASTE_BEGINS = "200"
_PASTE_ENDS = "\x1b[201~"
MAX_PASTE_CHARS = 2000
# No key's sequence is longer.
_MAX_ESCAPE_CHARS = 32
# Calls of `idle` after which a paste whose end never came is over.
_PASTE_IDLES = 10


class KeyDecoder:
    """Feed it what was read; it keeps what is not whole yet: half a character, half a sequence."""

    def __init__(self) -> None:
        self._utf8 = codecs.getincrementaldecoder("utf-8")("ignore")
        self._escape = ""
        self._pasting = False
        self._pasted: list[str] = []
        # The newest of a paste, in which its end would show.
        self._tail = ""
        self._idles = 0

    def feed(self, data: bytes) -> list[Key | str]:
        """Keys, and printable text between them, in order."""
        found: list[Key | str] = []
        self._idles = 0
        for char in self._utf8.decode(data):
            if self._pasting:
                self._paste(char, found)
            elif self._escape:
                self._go_on(char, found)
            elif char == _ESCAPE:
                self._escape = char
            elif char in _CONTROLS:
                found.append(_CONTROLS[char])
            else:
                _add(char, found)
        return found

    def idle(self) -> list[Key | str]:
        """Nothing came for a moment: an escape alone was a key that does nothing."""
        self._escape = ""
        self._idles += 1
        if not self._pasting or self._idles < _PASTE_IDLES:
            return []
        return self._end_paste(self._tail)

    def _go_on(self, char: str, found: list[Key | str]) -> None:
        begun, self._escape = self._escape, ""
        if char == _ESCAPE:
            self._escape = char
        elif begun == _ESCAPE:
            if char in "[O":
                self._escape = begun + char
            elif char in "\x7f\b":
                found.append(Key.CUT_WORD)
        elif begun == "\x1b[" and char == "[":
            self._escape = begun + char  # a function key of Linux' own console
        elif begun == "\x1bO" and char == "M":
            found.append(Key.ENTER)  # the keypad's
        elif begun[1] == "O" or "@" <= char <= "~":
            self._end(begun[2:], char, found)
        elif len(begun) < _MAX_ESCAPE_CHARS:
            self._escape = begun + char

    def _end(self, numbers: str, final: str, found: list[Key | str]) -> None:
        if final == "~" and numbers == _PASTE_BEGINS:
            self._pasting, self._pasted, self._tail = True, [], ""
            return
        key = _NUMBERS.get(numbers.split(";")[0]) if final == "~" else _FINALS.get(final)
        if key is not None and numbers[:1] not in ("[", "<", "?"):
            found.append(key)

    def _paste(self, char: str, found: list[Key | str]) -> None:
        self._tail += char
        if self._tail == _PASTE_ENDS:
            found += self._end_paste("")
        elif len(self._tail) == len(_PASTE_ENDS):
            if len(self._pasted) < MAX_PASTE_CHARS:
                self._pasted.append(self._tail[0])
            self._tail = self._tail[1:]

    def _end_paste(self, rest: str) -> list[Key | str]:
        # A question is one line: what is pasted is never sent by its own line breaks.
        text = "".join(" " if char.isspace() else char for char in (*self._pasted, *rest))
        self._pasting, self._pasted, self._tail = False, [], ""
        found: list[Key | str] = []
        for char in text:
            _add(char, found)
        return found


def _add(char: str, found: list[Key | str]) -> None:
    if not char.isprintable():
        return
    if found and isinstance(found[-1], str):
        found[-1] += char
    else:
        found.append(char)
