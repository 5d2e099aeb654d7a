"""The line that is typed: characters as a person counts them, a cursor, and earlier lines."""

from __future__ import annotations

from collections import deque

from rich.cells import cell_len

from edge_audiokv.cli.live.keys import Key

MAX_CHARS = 400
_MAX_EARLIER = 50


class InputLine:
    """Edited by `press`. No longer than MAX_CHARS; what would not fit is left out."""

    def __init__(self) -> None:
        # Each a character and the marks that stand on it.
        self._chars: list[str] = []
        self._cursor = 0
        self._earlier: deque[str] = deque(maxlen=_MAX_EARLIER)
        # Where in the earlier lines; 0 is the line that was begun last, kept in `_begun`.
        self._back = 0
        self._begun = ""
        self.full = False
        """Something was left out since the last key."""

    @property
    def before(self) -> str:
        """The text before the cursor."""
        return "".join(self._chars[: self._cursor])

    @property
    def after(self) -> str:
        """The text from the cursor on."""
        return "".join(self._chars[self._cursor :])

    def press(self, key: Key | str) -> str | None:
        """Take a key or text; the line, if it was sent. An empty one is not."""
        self.full = False
        if isinstance(key, str):
            self._insert(key)
            return None
        if key is Key.ENTER:
            return self._send()
        if key in (Key.UP, Key.DOWN):
            self._recall(1 if key is Key.UP else -1)
        else:
            self._edit(key)
        return None

    def _insert(self, text: str) -> None:
        room = MAX_CHARS - sum(map(len, self._chars))
        self.full = len(text) > room
        self._set(self.before + text[: max(0, room)], self.after)

    def _set(self, before: str, after: str) -> None:
        """Both anew: a mark that is typed joins the character before it."""
        self._chars = _split(before)
        self._cursor = len(self._chars)
        self._chars += _split(after)

    def _edit(self, key: Key) -> None:
        chars, at = self._chars, self._cursor
        match key:
            case Key.LEFT:
                self._cursor = max(0, at - 1)
            case Key.RIGHT:
                self._cursor = min(len(chars), at + 1)
            case Key.HOME:
                self._cursor = 0
            case Key.END:
                self._cursor = len(chars)
            case Key.BACKSPACE:
                self._cut(max(0, at - 1), at)
            case Key.DELETE:
                self._cut(at, at + 1)
            case Key.CLEAR:
                self._cut(0, at)
            case Key.CUT_REST:
                self._cut(at, len(chars))
            case Key.CUT_WORD:
                start = at
                while start and chars[start - 1].isspace():
                    start -= 1
                while start and not chars[start - 1].isspace():
                    start -= 1
                self._cut(start, at)
            case _:
                pass

    def _cut(self, start: int, end: int) -> None:
        del self._chars[start:end]
        self._cursor = start

    def _send(self) -> str | None:
        text = "".join(self._chars).strip()
        self._set("", "")
        self._back = 0
        if not text:
            return None
        if not self._earlier or self._earlier[-1] != text:
            self._earlier.append(text)
        return text

    def _recall(self, step: int) -> None:
        back = self._back + step
        if not 0 <= back <= len(self._earlier):
            return
        if self._back == 0:
            self._begun = "".join(self._chars)
        self._back = back
        self._set(self._earlier[-back] if back else self._begun, "")


def _split(text: str) -> list[str]:
    chars: list[str] = []
    for char in text:
        if chars and cell_len(char) == 0:
            chars[-1] += char
        else:
            chars.append(char)
    return chars
