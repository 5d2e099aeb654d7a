"""The view, on screens of several sizes and where there is none."""

from __future__ import annotations

import io
import sys

import click
import pyte
import pytest
from rich.console import Console

from edge_audiokv.events import (
    Answer,
    DeviceLost,
    Event,
    Final,
    Partial,
    SessionEnded,
    SpeechStarted,
    Warned,
)
from edge_audiokv.output.live import LiveView, PlainView, WholeLines, beside, is_live


def plain(events: list[Event], finals: bool) -> list[str]:
    console = Console(file=io.StringIO(), width=40, color_system=None)
    with PlainView(console, finals) as view:
        for event in events:
            view.show(event)
    return console.file.getvalue().splitlines()


EVENTS = [
    SpeechStarted(0, 0.0),
    Partial(0, 0.0, 1.0, "hello"),
    Final(0, 61.0, 63.5, "Hello [bold]there[/bold], :smile: this is longer than a screen is wide."),
    Answer("Who?", "Me.", 2.0),
    Warned(2.0, "careful"),
    DeviceLost(3.0, "mic"),
    Final(1, 64.0, 65.0, "  "),
    Final(2, 66.0, 67.0, "one \x1b[2J two"),
    SessionEnded(4.0, 1, "end of input"),
]
TOLD = ["warning: careful", "microphone lost: mic; waiting for it"]
SAID = [
    "00:01:01 Hello [bold]there[/bold], :smile: this is longer than a screen is wide.",
    "Q: Who?",
    "A: Me.",
    *TOLD,
    "00:01:06 one \\x1b[2J two",
]


def test_plain_lines_with_and_without_finals() -> None:
    assert plain(EVENTS, finals=False) == TOLD
    assert plain(EVENTS, finals=True) == SAID


class Screen(io.StringIO):
    """A file that is a screen; `text` is what is on it and above it."""

    def __init__(self, columns: int = 40, lines: int = 12) -> None:
        super().__init__()
        self.screen = pyte.HistoryScreen(columns, lines, history=1000, ratio=0.5)
        self._stream = pyte.Stream(self.screen)
        self._stream.feed("\x1b[20h")  # a line feed returns, as terminals' drivers make it
        self.raw = ""

    def write(self, text: str) -> int:
        self.raw += text
        self._stream.feed(text)
        return len(text)

    def resize(self, columns: int) -> None:
        self.screen.resize(columns=columns)

    @property
    def text(self) -> list[str]:
        above = ["".join(row[x].data for x in sorted(row)) for row in self.screen.history.top]
        seen = [line.rstrip() for line in [*above, *self.screen.display]]
        while seen and not seen[-1]:
            seen.pop()
        return seen


def make_screen(columns: int = 40, **options: object) -> tuple[Screen, Console]:
    file = Screen(columns)
    console = Console(file=file, height=12, force_terminal=True, _environ={}, **options)
    console.width = columns
    return file, console


def as_on_a_screen(lines: list[str], columns: int) -> str:
    return "".join(f"{line:<{-(-len(line) // columns) * columns}}" for line in lines)


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_finals_stay_and_the_panel_takes_itself_away(columns: int) -> None:
    file, console = make_screen(columns)
    with LiveView(console, typing=True) as view:
        for _ in range(3):
            for event in EVENTS:
                view.show(event)
                assert any(line.startswith("> ") for line in file.text)
        view.status.typed = "what did she say about the boat", ""
        view.redraw()
        assert file.text[-1].startswith("> what did she say about the boat")
        assert file.screen.cursor.hidden
    assert "".join(f"{line:<{columns}}" for line in file.text) == as_on_a_screen(3 * SAID, columns)
    assert not file.screen.cursor.hidden
    assert file.raw.count("\x1b[?2004h") == file.raw.count("\x1b[?2004l") == 1


@pytest.mark.parametrize("sizes", [(80, 40, 200), (200, 40), (40, 80)])
def test_a_resized_screen_holds_one_panel(sizes: tuple[int, ...]) -> None:
    file, console = make_screen(sizes[0])
    with LiveView(console, typing=True) as view:
        view.show(Final(0, 0.0, 1.0, "one"))
        for columns in sizes:
            file.resize(columns)
            console.width = columns
            view.show(Partial(1, 0.0, 1.0, "words " * 12))
            view.redraw()
            text = file.text
            assert [line[:1] for line in text].count(">") == 1
            assert len([line for line in text if "listening" in line]) == 1
        view.show(Final(1, 2.0, 3.0, "two"))
    assert file.text == ["00:00:00 one", "00:00:02 two"]


def test_what_others_write_is_not_written_over() -> None:
    file, console = make_screen()
    with LiveView(console, typing=True) as view:
        file.write("a library complains\n")
        view.show(Final(0, 0.0, 1.0, "one"))
        with view.aside():
            file.write("a result\nof two lines\n")
        view.status.clock_s = 9.0
        view.redraw()
    assert file.text == ["a library complains", "00:00:00 one", "a result", "of two lines"]


def test_half_a_line_waits_for_its_end() -> None:
    file, console = make_screen()
    with LiveView(console, typing=True) as view:
        lines = WholeLines(file, view)
        for text in ("[", "\n1", ",\n2", "\n]"):
            assert lines.write(text) == len(text)
        assert file.text[:4] == ["[", "1,", "2", ""]
        lines.close()
        assert lines.closed and not file.closed
    assert file.text == ["[", "1,", "2", "]"]


def test_what_is_said_beside_a_panel_is_broken_between_words(monkeypatch) -> None:
    file, console = make_screen(80)
    file.isatty = lambda: True
    monkeypatch.setattr(sys, "stdout", file)
    monkeypatch.setattr(sys, "stderr", file)
    said = "--mem 541MB leaves no room for the model's reader, and words will be less exact; so."
    with LiveView(console, typing=True) as view, beside(view):
        print(said, file=sys.stderr)
        first, second = file.text[:2]
        assert f"{first} {second}" == said and len(first) < 80
        # A result is as it is.
        print(said)
        assert said[:80] in "".join(file.text)


def test_what_is_written_meanwhile_goes_above_the_panel(monkeypatch) -> None:
    file, console = make_screen()
    file.isatty = lambda: True
    log = io.StringIO()
    monkeypatch.setattr(sys, "stdout", log)
    monkeypatch.setattr(sys, "stderr", file)
    with LiveView(console, typing=True) as view, beside(view):
        click.echo("one\ntwo\nthree", err=True)
        print("a result")
        assert file.text[:4] == ["one", "two", "three", ""] and file.text[-1].startswith("> ")
    assert file.text == ["one", "two", "three"] and log.getvalue() == "a result\n"
    assert sys.stderr is file


def test_a_paused_view_leaves_nothing_but_lines() -> None:
    file, console = make_screen()
    with LiveView(console, typing=True) as view:
        view.show(Final(0, 0.0, 1.0, "one"))
        view.pause()
        assert file.text == ["00:00:00 one"] and not file.screen.cursor.hidden
        view.show(Final(1, 1.0, 2.0, "two"))
        view.refresh()
        view.redraw()
        assert file.text == ["00:00:00 one", "00:00:01 two"]
        view.resume()
        assert file.text[-1].startswith("> ") and file.screen.cursor.hidden
    assert file.text == ["00:00:00 one", "00:00:01 two"]


def test_colours_can_be_turned_off() -> None:
    file, console = make_screen(no_color=True)
    with LiveView(console, typing=True) as view:
        for event in EVENTS:
            view.show(event)
    codes = [part.split("m")[0] for part in file.raw.split("\x1b[") if "m" in part]
    assert not {code for code in codes for code in code.split(";") if code[:1] in "34" and code[1:]}


def test_loading_is_told_first_and_then_gone() -> None:
    file, console = make_screen(80)
    view = LiveView(console)
    view.loading("smollm2-audio")
    with view:
        assert "loading smollm2-audio" in file.text[1]
        view.progress("fetch it" + 80 * "-", 50, 200)
        view.redraw()
        assert "25% of 200 B  fetch it--" in file.text[1]
        view.progress("fetch it", 200, 200)
        view.redraw()
        assert "fetch" not in "".join(file.text) and "loading" in file.text[1]
        view.listening()
        assert "loading" not in "".join(file.text) and "listening" in file.text[1]
    assert file.text == []
    stream = io.StringIO()
    log = PlainView(Console(file=stream))
    log.loading("smollm2-audio")
    for done_bytes in (0, 50, 100):
        log.progress("fetch it", done_bytes, 100)
    log.listening()
    assert stream.getvalue() == "fetch it (100 B)\n"


def test_redraws_are_limited_but_events_are_not() -> None:
    now_s = [0.0]
    file, console = make_screen(get_time=lambda: now_s[0])
    with LiveView(console) as view:
        now_s[0] = 1.0
        view.refresh()
        size = len(file.raw)
        for _ in range(100):
            now_s[0] += 0.001
            view.status.level_dbfs = -1000 * now_s[0]
            view.refresh()
        assert len(file.raw) == size
        view.show(SpeechStarted(0, 1.0))
        assert len(file.raw) > size
        size = len(file.raw)
        now_s[0] = 9.0
        view.refresh()  # nothing has changed
        assert len(file.raw) == size


def test_words_that_a_terminal_cannot_write_do_not_end_it() -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    console = Console(file=file, width=40, height=9, force_terminal=True)
    with LiveView(console) as view:
        view.show(Final(0, 0.0, 1.0, "wär"))
    file.flush()
    assert b"w?r" in file.buffer.getvalue()


def test_a_terminal_that_can_be_redrawn_is_told_apart() -> None:
    screen = Console(file=io.StringIO(), force_terminal=True, _environ={})
    dumb = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"})
    piped = Console(file=io.StringIO(), _environ={})
    assert [is_live(console) for console in (screen, dumb, piped)] == [True, False, False]
