"""Show on stderr how far a fetch is, with the time left."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.progress import (
    DownloadColumn,
    ProgressColumn,
    TaskID,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.spinner import Spinner
from rich.text import Text

from ..bars import FIGURE, Bars, bar_columns, has_room
from ..units import format_bytes, printable
from .download import Progress as Report

_log = logging.getLogger("edge_audiokv.models")


class _Loading(Bars):
    """Bars, and under them what they are for: that takes its time after the last of them, too."""

    spinner: Spinner | None = None

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if self.spinner is not None:
            yield self.spinner


@contextmanager
def progress_bar(console: Console | None = None, *, loading: str = "") -> Iterator[Report]:
    """A callback for `ensure` that draws a bar; where nobody watches, it prints one line a fetch.

    `loading` is told at once, and for as long as the block takes. Both disappear when it is done.
    stdout is not touched.
    """
    console = console or Console(stderr=True)
    figures: list[ProgressColumn] = [DownloadColumn(table_column=FIGURE)]
    if has_room(console):
        figures.append(TransferSpeedColumn(table_column=FIGURE))
    bar = _Loading(
        *bar_columns(console, *figures, TimeRemainingColumn(table_column=FIGURE)),
        console=console,
    )
    if loading:
        # Of plain characters: every terminal has them.
        bar.spinner = Spinner("line", Text(f"loading {printable(loading)}"))
    tasks: dict[str, TaskID] = {}
    done: set[str] = set()

    def report(name: str, done_bytes: int, total_bytes: int) -> None:
        if name not in tasks:
            tasks[name] = bar.add_task(name, total=total_bytes)
            if bar.disable and name.startswith("fetch "):
                console.print(f"{name} ({format_bytes(total_bytes)})", highlight=False)
        bar.update(tasks[name], completed=done_bytes)
        if done_bytes >= total_bytes and name not in done:
            done.add(name)
            _log.info("%s: %s", name, format_bytes(total_bytes))

    with bar:
        yield report
