"""Show on stderr how far a fetch is, with the time left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from ..units import format_bytes
from .download import Progress as Report


@contextmanager
def progress_bar(console: Console | None = None) -> Iterator[Report]:
    """A callback for `ensure` that draws a bar; where nobody watches, it prints one line a fetch.

    The bar disappears when it is done. stdout is not touched.
    """
    console = console or Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    tasks: dict[str, TaskID] = {}

    def report(name: str, done_bytes: int, total_bytes: int) -> None:
        if name not in tasks:
            tasks[name] = bar.add_task(name, total=total_bytes)
            if bar.disable and name.startswith("fetch "):
                console.print(f"{name} ({format_bytes(total_bytes)})", highlight=False)
        bar.update(tasks[name], completed=done_bytes)

    with bar:
        yield report
