"""The progress bar: a bar for a person, one line for a log."""

from __future__ import annotations

import io

import pyte
from rich.console import Console

from edge_audiokv.models.progress import progress_bar
from edge_audiokv.units import printable


def draw(*, terminal: bool) -> str:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=100)
    with progress_bar(console) as report:
        for done_bytes in (0, 50, 100):
            report("fetch weights.gguf", done_bytes, 100)
        report("verify weights.gguf", 100, 100)
    return stream.getvalue()


def test_a_log_gets_one_line_a_fetch() -> None:
    assert draw(terminal=False) == "fetch weights.gguf (100 B)\n"


def test_a_terminal_gets_a_bar_with_bytes_and_time() -> None:
    text = draw(terminal=True)
    assert "100/100 bytes" in text and "0:00:00" in text


def test_what_is_loaded_is_told_at_once_and_gone_afterwards() -> None:
    for name in ("smollm2-audio", "a\x1b[2Jb"):
        screen = pyte.Screen(60, 10)
        stream = io.StringIO()
        console = Console(file=stream, force_terminal=True, width=60, height=10)
        shown = pyte.Stream(screen)
        shown.feed("\x1b[20h")
        with progress_bar(console, loading=name) as report:
            seen = len(stream.getvalue())
            shown.feed(stream.getvalue())
            assert f"loading {printable(name)}" in "".join(screen.display)
            report("fetch weights.gguf", 50, 100)
        shown.feed(stream.getvalue()[seen:])
        assert "".join(screen.display).strip() == ""
    log = io.StringIO()
    with progress_bar(Console(file=log), loading="smollm2-audio"):
        pass
    assert log.getvalue() == ""
