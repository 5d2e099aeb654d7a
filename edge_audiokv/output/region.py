"""The last rows of a terminal, redrawn in place while text scrolls above them.

The cursor waits, hidden, at the start of the first row. Terminals that break lines anew when they
are resized take it along with that row, others leave it where it is: from there on all is ours
either way, and nothing of an older size is left behind. The first row is best kept empty: what
others write meanwhile lands on it.
"""

from __future__ import annotations

from collections.abc import Sequence

from edge_audiokv.bars import CUT_ROWS, ERASE_BELOW, WRAP_ROWS

_HIDE_CURSOR, _SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
_ERASE_ROW, _ERASE_REST = "\x1b[K", "\x1b[J"
_PASTES_ARE_MARKED, _PASTES_ARE_KEYS = "\x1b[?2004h", "\x1b[?2004l"


def begin(*, typing: bool) -> str:
    """What a terminal is told first; `typing` asks it to mark pasted text."""
    return _HIDE_CURSOR + (_PASTES_ARE_MARKED if typing else "")


def draw(rows: Sequence[str], above: str = "") -> str:
    """`rows` in place of those drawn before; `above`, whole lines, is left for good over them.

    Rows hold no line breaks, and leave the last column free.
    """
    text = (ERASE_BELOW if above or not rows else "\r") + above
    if not rows:
        return text
    body = f"{_ERASE_ROW}\n".join(rows)
    up = f"\x1b[{len(rows) - 1}A" if len(rows) > 1 else ""
    return f"{text}{CUT_ROWS}{body}{_ERASE_REST}{WRAP_ROWS}{up}\r"


def end(*, typing: bool) -> str:
    """Erase it, and leave the terminal as it was."""
    return ERASE_BELOW + (_PASTES_ARE_KEYS if typing else "") + _SHOW_CURSOR
