"""What stands on stderr while a person waits, and is gone afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from edge_audiokv.bars import steady


@contextmanager
def waiting(console: Console, text: str) -> Iterator[Callable[[], None]]:
    """A line that moves, until the block ends or what it gives is called; on a terminal alone."""
    # Of plain characters: every terminal has them.
    moving = Live(Spinner("line", Text(text)), console=console, transient=True)
    steady(moving)
    if console.is_interactive:
        moving.start(refresh=True)
    try:
        yield moving.stop
    finally:
        moving.stop()
