"""What is shown while a person waits."""

from __future__ import annotations

import io

import pyte
import pytest

from edge_audiokv.cli.voice import console
from edge_audiokv.cli.waiting import waiting


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_that_it_works_until_there_is_something(monkeypatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with waiting(console(stream), "answering") as stop:
        assert "answering" in stream.getvalue()
        stop()
        stream.write("an answer")
        shown = stream.getvalue()
        # The line that moved is erased, and the cursor is there again.
        screen = pyte.Screen(80, 24)
        pyte.Stream(screen).feed("\x1b[20h" + shown)
        assert [line.strip() for line in screen.display if line.strip()] == ["an answer"]
        assert not screen.cursor.hidden
    assert stream.getvalue() == shown


@pytest.mark.parametrize("colours", ["FORCE_COLOR", "CLICOLOR_FORCE"])
def test_a_file_gets_nothing_of_it_even_if_colours_are_asked_for(monkeypatch, colours) -> None:
    monkeypatch.setenv(colours, "1")
    monkeypatch.setenv("TERM", "xterm")
    stream = io.StringIO()
    with waiting(console(stream), "answering"):
        pass
    assert stream.getvalue() == ""


def test_a_simple_terminal_and_a_closed_one_get_nothing(monkeypatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    stream = Terminal()
    with waiting(console(stream), "answering"):
        pass
    assert "\x1b" not in stream.getvalue()
    monkeypatch.setattr("sys.stderr", None)
    with waiting(console(), "answering"):
        pass
