"""`edge-audiokv eval quants`: which type of weights, rows, policy and budget to run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.progress import TimeRemainingColumn

from edge_audiokv.bars import FIGURE, Bars, bar_columns
from edge_audiokv.cli import voice
from edge_audiokv.cli.command import Command
from edge_audiokv.cli.evaluate.common import (
    counted,
    limit_option,
    per_speaker_option,
    speaker_option,
)
from edge_audiokv.cli.evaluate.report import report_text
from edge_audiokv.cli.options import some_engine_options
from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.errors import EdgeAudioKVError, OutputError
from edge_audiokv.output.place import check_place
from edge_audiokv.units import format_bytes

if TYPE_CHECKING:
    from edge_audiokv.eval.quants.grid import Cell
    from edge_audiokv.eval.quants.rows import Row
    from edge_audiokv.eval.quants.run import Plan
    from edge_audiokv.eval.wer import Utterance


@click.command("quants", short_help="Which weights, rows, policy and budget to run.", cls=Command)
@click.option(
    "--data",
    "--manifest",
    "manifest",
    required=True,
    type=click.Path(path_type=Path),
    metavar="MANIFEST",
    help='JSON lines with "path", "text" and maybe "id", "speaker", "recording".',
)
@limit_option
@per_speaker_option
@speaker_option
@click.option(
    "--types",
    default="Q8_0,Q6_K,Q5_K_M,Q4_K_M,IQ4_XS,Q4_0,Q3_K_M,Q2_K",
    show_default=True,
    metavar="TYPE,...",
    help="Types of weights, made of the base; those of `edge-audiokv quantize`.",
)
@click.option(
    "--kv-types",
    default="f16,q8_0,q4_0",
    show_default=True,
    metavar="TYPE,...",
    help="Types of key and value rows: f16, q8_0, q4_0, or two such as q8_0/q4_0.",
)
@click.option(
    "--policies",
    default="audiokv-edge",
    show_default=True,
    metavar="NAME,...",
    help='How rows are chosen, maybe with options: "snapkv window=16".',
)
@click.option(
    "--budgets",
    default="100%,60%,40%,20%",
    show_default=True,
    metavar="SHARE,...",
    help="Shares of the rows that stay.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="RUN.jsonl",
    help="Where a row for each cell goes; a run that is there is gone on with.",
)
@click.option(
    "--quants-dir",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where quantised files are made and kept; default: the cache.",
)
@click.option(
    "--imatrix",
    type=click.Path(path_type=Path),
    metavar="FILE.gguf",
    help="Make types with this importance matrix, of `edge-audiokv imatrix`.",
)
@click.option("--dry-run", is_flag=True, help="Only say how much it would be.")
@click.option(
    "--fail-above",
    multiple=True,
    metavar="NAME=NUMBER",
    help="Exit with 14 if a cell is worse: wer=+1.0, collapsed=+2 (points), kld=0.05; repeatable.",
)
@some_engine_options("model", "mem", "word_weight", "threads", "provider")
def quants_command(
    manifest: Path,
    limit: int | None,
    per_speaker: int | None,
    speakers: tuple[str, ...],
    types: str,
    kv_types: str,
    policies: str,
    budgets: str,
    output: Path | None,
    quants_dir: Path | None,
    imatrix: Path | None,
    dry_run: bool,
    fail_above: tuple[str, ...],
    **values: Any,
) -> None:
    """Measure every type of weights x type of rows x policy x budget beside the best that is here.

    Damage of quantisation and of eviction is told alike: KL divergence of the next token's
    distribution from the base's, given the sound and the text that the base wrote, and the word
    error rate of the whole way with its difference, clip by clip. The base (an adapter is merged
    into it first) keeps all rows in f16. Every cell runs in a process of its own; a run that was
    broken off goes on with the same command. Clips have at most 30 s.

    \b
    Examples:
      edge-audiokv eval quants --data clips.jsonl --per-speaker 8 --dry-run
      edge-audiokv eval quants --data clips.jsonl --per-speaker 8 -o run.jsonl
      edge-audiokv eval quants --data clips.jsonl --types base,Q8_0,Q4_K_M \\
        --kv-types f16,q8_0 --budgets 100%,40% -o run.jsonl --fail-above wer=+1.0
    """
    # Only when it runs: the other commands of the group need none of it.
    from edge_audiokv.eval.quants.grid import BASE
    from edge_audiokv.eval.quants.limits import check_limits, read_limits
    from edge_audiokv.eval.quants.rows import failed
    from edge_audiokv.eval.quants.run import cells_left, check_rows, execute
    from edge_audiokv.eval.wer import read_manifest

    faults: list[str] = []
    limits = read_limits(fail_above, faults)
    if output is None and not dry_run:
        faults.append("-o names no file for the rows")
    plan = _plan(
        partial(read_manifest, manifest, speakers=speakers, per_speaker=per_speaker, limit=limit),
        (types, kv_types, policies, budgets), output, quants_dir, imatrix, values, faults,
    )  # fmt: skip
    rows = check_rows(plan)
    sizes = plan.quants.sizes(plan.names)  # types that cannot be made are told now
    voice.note(plan.quants.note)
    if dry_run:
        voice.tell("\n".join(_dry_lines(plan, rows, sizes)))
        return
    console = voice.console()
    with Bars(
        *bar_columns(console, TimeRemainingColumn(table_column=FIGURE)), console=console
    ) as bar:
        task = bar.add_task("weights", total=1)
        weights = plan.quants.make(
            sizes,
            plan.settings["threads"],
            lambda text, done, total: bar.update(
                task, description=text, completed=done, total=total
            ),
        )
    voice.detail(f"weights are ready: {', '.join(plan.names)}")
    n_clips = len(plan.clips)
    with counted(len(cells_left(plan, rows)) * n_clips or 1, BASE) as advance:

        def on_clip(cell: Cell, done: int) -> None:
            advance(f"{cell.name}, clip {done} of {n_clips}")

        rows = execute(plan, weights, on_clip=on_clip)
    voice.tell(report_text(rows))
    wrong = failed(rows)
    if wrong:
        listed = "; ".join(f"{cell.name}: {why}" for cell, why in wrong.items())
        raise EdgeAudioKVError(
            f"{len(wrong)} cells were not measured: {listed}",
            cure="The same command tries them again.",
        )
    check_limits(rows, limits)


def _plan(
    read: Callable[[], list[Utterance]],
    lists: tuple[str, str, str, str],
    output: Path | None,
    quants_dir: Path | None,
    imatrix: Path | None,
    values: dict[str, Any],
    faults: list[str],
) -> Plan:
    """The plan, or all that keeps it from being made in one InputError."""
    from edge_audiokv.eval.quants.check import longest_s, read_clips, read_model, refuse
    from edge_audiokv.eval.quants.files import Quants
    from edge_audiokv.eval.quants.grid import read_grid
    from edge_audiokv.eval.quants.run import Plan
    from edge_audiokv.eval.wer import normalise
    from edge_audiokv.models.download import ensure
    from edge_audiokv.models.imatrix import read_imatrix
    from edge_audiokv.native.probe import check_in_child

    normalise("")  # a missing extra is told before anything is loaded
    entry = read_model(values["model"], faults)
    grid = read_grid(*lists, faults)
    clips = read_clips(read, longest_s(entry), faults)
    target = output or Path("run.jsonl")
    if output is not None:
        try:
            check_place(output)
        except OutputError as error:
            faults.append(f"-o: {error}")
    if imatrix is not None:
        try:
            read_imatrix(imatrix)
        except EdgeAudioKVError as error:
            faults.append(f"--imatrix: {error}")
    refuse(faults)
    if entry is None or grid is None:
        raise RuntimeError("a fault was not told")
    threads = EngineSettings(threads=values["threads"]).n_threads
    settings = {**values, "threads": threads}
    quants = Quants.of(ensure(entry, check=check_in_child), quants_dir, imatrix)
    plan = Plan(quants, tuple(grid.cells()), tuple(clips), settings, target)
    return plan


def _dry_lines(plan: Plan, rows: Sequence[Row], sizes: dict[str, int]) -> list[str]:
    from edge_audiokv.eval.quants.run import cells_left, estimate

    left = cells_left(plan, rows)
    guess = estimate(plan, rows)
    how = "as the cells that are done took" if guess.from_rows else "by one clip with the LLM here"
    return [
        f"{len(plan.cells)} cells, {len(left)} to measure, each over {len(plan.clips)} clips"
        f" ({plan.seconds / 60:.1f} min); intervals draw {plan.block}s",
        *(f"  {name:<10}{format_bytes(size):>11}" for name, size in sizes.items()),
        f"{format_bytes(plan.quants.missing_bytes(sizes))} to write into {plan.quants.folder}",
        f"about {guess.hours:.2g} h of measuring, {how}",
    ]
