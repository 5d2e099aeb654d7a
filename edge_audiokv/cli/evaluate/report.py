"""`edge-audiokv eval report`: runs of `eval quants` as a table, CSV or picture, and what to run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_audiokv.cli import voice
from edge_audiokv.cli.command import Command
from edge_audiokv.errors import InputError
from edge_audiokv.output.place import check_place

if TYPE_CHECKING:
    from edge_audiokv.eval.quants.rows import Row


@click.command("report", short_help="What runs of `eval quants` say, and what to run.", cls=Command)
@click.argument(
    "runs",
    nargs=-1,
    required=True,
    metavar="RUN.jsonl...",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, a line for each cell.")
@click.option(
    "--plot", type=click.Path(path_type=Path), help="Damage against bytes: SVG, PNG, PDF."
)
def report_command(runs: tuple[Path, ...], as_csv: bool, plot: Path | None) -> None:
    """A Markdown table of each run, with the cells that no other beats, and one sentence of advice.

    With several changes together, it also tells whether their damage is that of each added up.

    \b
    Examples:
      edge-audiokv eval report run.jsonl
      edge-audiokv eval report run.jsonl other.jsonl --csv
      edge-audiokv eval report run.jsonl --plot run.svg
    """
    from edge_audiokv.eval.quants.report import to_csv
    from edge_audiokv.eval.quants.rows import base_of, read_rows

    if plot is not None:
        check_place(plot)
    found = [read_rows(path) for path in runs]
    for path, rows in zip(runs, found, strict=True):
        if base_of(rows) is None:
            raise InputError(
                f"{path} has no row of the base yet, with which the others are compared.",
                cure="Go on with `edge-audiokv eval quants`.",
            )
    if as_csv:
        click.echo(to_csv(found), nl=False)
    else:
        voice.tell("\n\n".join(map(report_text, found)))
    if plot is not None:
        from edge_audiokv.eval.plots.quants import plot_quants

        plot_quants(found, plot)


def report_text(rows: Sequence[Row]) -> str:
    """Markdown: the table, whether damage adds up, and what to run."""
    from edge_audiokv.eval.quants.added import added, added_text
    from edge_audiokv.eval.quants.report import markdown, recommend

    parts = (markdown(rows), added_text(added(rows)), recommend(rows))
    return "\n\n".join(filter(None, parts))
