"""What all `edge-audiokv eval` commands share: options, a bar that counts clips, the output."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

manifest_option = click.option(
    "--manifest",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='JSON lines with "path" (relative to the file), "text" and maybe "speaker".',
)
speaker_option = click.option(
    "--speaker", "speakers", multiple=True, help="Only this speaker; repeatable."
)
limit_option = click.option(
    "--limit", type=click.IntRange(min=1), help="Only the first so many clips."
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, with every single result."
)


@contextmanager
def counted(
    total: int, text: str, console: Console | None = None
) -> Iterator[Callable[[str], None]]:
    """A bar of `total` steps; the callback makes one step and says how things stand.

    It is drawn on stderr, only where somebody watches, and disappears when it is done.
    """
    console = console or Console(stderr=True)
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task(text, total=total)
        yield lambda state: bar.update(task, advance=1, description=state)


def show(document: Any, lines: Sequence[str], *, as_json: bool) -> None:
    """Print the result: the JSON-ready `document`, or `lines` for people."""
    click.echo(json.dumps(document, ensure_ascii=False) if as_json else "\n".join(lines))
