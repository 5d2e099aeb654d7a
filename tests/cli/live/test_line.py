"""The line that is typed."""

from __future__ import annotations

import pytest

from edge_audiokv.cli.live.keys import Key
from edge_audiokv.cli.live.line import MAX_CHARS, InputLine


def typed(*keys: Key | str) -> InputLine:
    line = InputLine()
    for key in keys:
        line.press(key)
    return line


@pytest.mark.parametrize(
    ("keys", "before", "after"),
    [
        (["what was"], "what was", ""),
        (["ab", Key.LEFT, "x"], "ax", "b"),
        (["ab", Key.LEFT, Key.LEFT, Key.LEFT, Key.RIGHT], "a", "b"),
        (["ab", Key.RIGHT, Key.DELETE], "ab", ""),
        (["ab", Key.HOME, Key.BACKSPACE, Key.DELETE], "", "b"),
        (["ab", Key.HOME, Key.END, "c"], "abc", ""),
        (["wä", Key.BACKSPACE], "w", ""),
        (["w船", Key.BACKSPACE], "w", ""),
        # A letter and the accent on it are one character, typed together or not.
        (["we\u0301", Key.BACKSPACE], "w", ""),
        (["we", "\u0301", Key.LEFT], "w", "e\u0301"),
        (["one two  ", Key.CUT_WORD], "one ", ""),
        (["one two", Key.LEFT, Key.CUT_WORD], "one ", "o"),
        (["one", Key.CUT_WORD, Key.CUT_WORD], "", ""),
        (["one two", Key.LEFT, Key.CLEAR], "", "o"),
        (["one two", Key.HOME, Key.RIGHT, Key.CUT_REST], "o", ""),
    ],
)
def test_editing(keys: list[Key | str], before: str, after: str) -> None:
    line = typed(*keys)
    assert (line.before, line.after) == (before, after)


def test_enter_sends_and_up_recalls() -> None:
    line = typed("  first?  ")
    assert line.press(Key.ENTER) == "first?"
    assert (line.before, line.after) == ("", "")
    assert line.press(Key.ENTER) is None
    assert typed("  ").press(Key.ENTER) is None
    line.press("second?")
    line.press(Key.ENTER)
    line.press("begun")
    seen = []
    for key in (Key.UP, Key.UP, Key.UP, Key.DOWN, Key.DOWN, Key.DOWN):
        line.press(key)
        seen.append(line.before)
    assert seen == ["second?", "first?", "first?", "second?", "begun", "begun"]
    line.press(Key.UP)
    line.press("!")
    assert line.press(Key.ENTER) == "second?!"


def test_a_line_and_what_is_recalled_are_bounded() -> None:
    line = typed("x" * (MAX_CHARS - 1))
    assert not line.full
    line.press("yz")
    assert line.full and line.before == "x" * (MAX_CHARS - 1) + "y"
    line.press("z")
    assert line.full and len(line.before) == MAX_CHARS
    line.press(Key.LEFT)
    assert not line.full
    for number in range(200):
        line.press(Key.CLEAR)
        line.press(Key.CUT_REST)
        line.press(str(number))
        line.press(Key.ENTER)
    for _ in range(500):
        line.press(Key.UP)
    assert line.before == "150"
