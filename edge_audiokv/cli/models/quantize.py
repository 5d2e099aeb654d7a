"""`edge-audiokv quantize`: smaller GGUF files of a model, with sizes before anything is written."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click
from rich.progress import TextColumn, TimeRemainingColumn

from edge_audiokv.bars import FIGURE, Bars, bar_columns
from edge_audiokv.cli import voice
from edge_audiokv.cli.command import Command
from edge_audiokv.cli.results import make_folders
from edge_audiokv.errors import OutputError
from edge_audiokv.models.gguf import read_header
from edge_audiokv.native.quantize import (
    Quantized,
    check_imatrix,
    file_types,
    number_of,
    quantize,
    tensor_types,
)
from edge_audiokv.native.threads import usable_cores
from edge_audiokv.output.place import check_name, writing
from edge_audiokv.units import format_bytes, printable

DEFAULT_TYPES = "Q8_0,Q6_K,Q5_K_M,Q4_K_M,IQ4_XS,Q4_0"


@click.command("quantize", cls=Command)
@click.argument("file", metavar="IN.gguf", type=click.Path(path_type=Path))
@click.option(
    "--types",
    default=DEFAULT_TYPES,
    show_default=True,
    metavar="TYPE,...",
    help="What to make; --dry-run with `all` shows what there is.",
)
@click.option(
    "-o",
    "--output-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where the files go; default: beside IN.gguf.",
)
@click.option("--output-type", metavar="TYPE", help="Type of the word head (output.weight).")
@click.option("--embedding-type", metavar="TYPE", help="Type of the token table.")
@click.option(
    "--imatrix",
    type=click.Path(path_type=Path),
    metavar="FILE.gguf",
    help="An importance matrix of `edge-audiokv imatrix` or llama-imatrix.",
)
@click.option("--dry-run", is_flag=True, help="Only say how large they would be.")
@click.option("--overwrite", is_flag=True, help="Write over files that are there.")
@click.option("-t", "--threads", type=click.IntRange(1, 256), help="Threads; default: all cores.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    file: Path,
    types: str,
    output_dir: Path | None,
    output_type: str | None,
    embedding_type: str | None,
    imatrix: Path | None,
    dry_run: bool,
    overwrite: bool,
    threads: int | None,
    as_json: bool,
) -> None:
    """Make smaller GGUF files of a model with llama.cpp's own quantiser.

    IN.gguf is best a file of F16, BF16 or F32 weights: what is quantised already is rounded once
    more. Files are called NAME.TYPE.gguf and appear whole or not at all; each is told with its
    size, bits a weight, SHA-256 and how many tensors have which type. Types that need an importance
    matrix are refused without one.

    \b
    Examples:
      edge-audiokv quantize model.F16.gguf --dry-run
      edge-audiokv quantize model.F16.gguf --types Q4_K_M,Q8_0 -o quants
      edge-audiokv quantize model.F16.gguf --types Q3_K_M --imatrix speech.gguf
    """
    known = file_types()
    names = list(known) if types == "all" and dry_run else _names(types)
    # All that is wrong is told before minutes are spent.
    for name in names:
        number_of(name, known)
    for name in filter(None, (output_type, embedding_type)):
        number_of(name, tensor_types())
    header = read_header(file)
    if imatrix is not None:
        check_imatrix(imatrix, header)
    folder = output_dir or file.parent
    targets = [folder / f"{_stem(file, known)}.{name}.gguf" for name in names]
    if not dry_run:
        _check(targets, file, overwrite=overwrite)
        make_folders(targets)
    made = []
    console = voice.console()
    bar = Bars(
        *bar_columns(
            console,
            TextColumn("{task.completed:.0f}/{task.total:.0f} tensors", table_column=FIGURE),
            TimeRemainingColumn(table_column=FIGURE),
        ),
        console=console,
    )
    for name, target in zip(names, targets, strict=True):
        with bar:
            task = bar.add_task(name, total=1)
            with writing(target):
                result = quantize(
                    file,
                    target,
                    name,
                    threads=threads or usable_cores(),
                    output_type=output_type,
                    embedding_type=embedding_type,
                    imatrix=imatrix,
                    dry_run=dry_run,
                    progress=lambda done, total, task=task: bar.update(  # type: ignore[misc]
                        task, completed=done, total=total
                    ),
                )
            made.append(result)
            bar.remove_task(task)
        if not as_json:
            voice.tell(_line(made[-1]))
    if as_json:
        click.echo(json.dumps([item.to_dict() for item in made], indent=2))


def _names(types: str) -> list[str]:
    names = [name.strip().upper() for name in types.split(",")]
    if not all(names):
        raise click.BadParameter("names of types, separated by commas.", param_hint="--types")
    return list(dict.fromkeys(names))


def _stem(file: Path, known: dict[str, int]) -> str:
    """The name without the type that it may end with: model.F16.gguf and model-f16.gguf."""
    base, _, last = re.sub(r"[-_.](?=[^-.]+$)", "\0", file.stem).rpartition("\0")
    return base if base and last.upper() in known else file.stem


def _check(targets: list[Path], source: Path, *, overwrite: bool) -> None:
    for target in targets:
        check_name(target)
        if target.exists() and target.samefile(source):
            raise OutputError(f"{target} is what is to be read.", cure="Give another --output-dir.")
        if target.exists() and not overwrite:
            raise OutputError(
                f"{target} is there already.", cure="Give another --output-dir, or --overwrite."
            )


def _line(made: Quantized) -> str:
    tensors = ", ".join(f"{count} {name}" for name, count in made.tensors)
    rest = f"  {made.sha256[:16]}  {tensors}" if made.sha256 else ""
    rest += "  (refused: needs an importance matrix)" if made.needs_imatrix else ""
    return (
        f"{made.type:<10}{format_bytes(made.file_bytes):>11}  {made.bits_per_weight:5.2f} bits  "
        f"{printable(made.path)}{rest}"
    )
