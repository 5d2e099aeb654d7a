"""What all `edge-audiokv eval` commands share: options, a bar that counts clips, the output."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import MofNCompleteColumn, TimeRemainingColumn

from edge_audiokv.bars import FIGURE, Bars, bar_columns
from edge_audiokv.cli import voice

manifest_option = click.option(
    "--manifest",
    required=True,
    type=click.Path(exists=True, path_type=Path),
    help='JSON lines with "path" (relative to the file), "text" and maybe "speaker"; or a folder'
    " as of LibriSpeech or Hugging Face.",
)
speaker_option = click.option(
    "--speaker", "speakers", multiple=True, help="Only this speaker; repeatable."
)
limit_option = click.option(
    "--limit", type=click.IntRange(min=1), help="Only the first so many clips."
)
per_speaker_option = click.option(
    "--per-speaker",
    type=click.IntRange(min=1),
    help="Only the first so many clips of each speaker.",
)
# Seconds between two lines of progress where no bar can be drawn.
PLAIN_EVERY_S = 30.0
seed_option = click.option(
    "--seed", default=0, show_default=True, help="Which joins and what is asked."
)
turns_option = click.option(
    "--turns",
    is_flag=True,
    help="Remember as a session does: each clip a turn with the model's own text.",
)
recalls_option = click.option(
    "--recall",
    "recalls",
    is_flag=True,
    help="Bring back turns that share words with the question; needs --turns.",
)
json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, with every single result."
)


@contextmanager
def counted(
    total: int, text: str, console: Console | None = None
) -> Iterator[Callable[[str], None]]:
    """A bar of `total` steps on stderr; the callback makes one step and says how things stand.

    The bar disappears when it is done. Where nobody watches, long work writes a line now and then.
    """
    console = console or voice.console()
    if not console.is_interactive:
        yield _plain_lines(total, console)
        return
    with Bars(
        *bar_columns(
            console,
            MofNCompleteColumn(table_column=FIGURE),
            TimeRemainingColumn(table_column=FIGURE),
        ),
        console=console,
    ) as bar:
        task = bar.add_task(text, total=total)
        yield lambda state: bar.update(task, advance=1, description=state)


def _plain_lines(total: int, console: Console) -> Callable[[str], None]:
    """One step; a line if `PLAIN_EVERY_S` have passed since the last, with the time left."""
    started = told = time.monotonic()
    n_done = 0

    def advance(state: str) -> None:
        nonlocal told, n_done
        n_done += 1
        now = time.monotonic()
        if now - told >= PLAIN_EVERY_S and n_done < total:
            told = now
            left_min = (now - started) / n_done * (total - n_done) / 60
            console.print(
                f"{n_done}/{total}, {state}, about {left_min:.0f} min left",
                markup=False, highlight=False, soft_wrap=True,
            )  # fmt: skip

    return advance


def show(document: Any, lines: Sequence[str], *, as_json: bool) -> None:
    """Print the result: the JSON-ready `document`, or `lines` for people."""
    if as_json:
        click.echo(json.dumps(document, ensure_ascii=False))
    else:
        voice.tell("\n".join(lines))


def check_recalls(recalls: bool, turns: bool) -> None:
    """UsageError unless there are turns to bring back."""
    if recalls and not turns:
        raise click.UsageError("--recall brings back turns: add --turns.")
