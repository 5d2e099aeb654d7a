"""The progress bar: a bar for a person, one line for a log."""

from __future__ import annotations

import io

from rich.console import Console

from edge_audiokv.models.progress import progress_bar


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
