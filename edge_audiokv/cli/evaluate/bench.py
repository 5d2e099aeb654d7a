"""`edge-audiokv bench`: speed and memory here, beside stock llama.cpp and what memory allows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edge_audiokv.cli import voice
from edge_audiokv.cli.command import Command
from edge_audiokv.cli.ending import Terminated
from edge_audiokv.cli.evaluate.common import counted
from edge_audiokv.cli.loading import loading
from edge_audiokv.cli.options import some_engine_options
from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.files import write_whole
from edge_audiokv.output.place import check_place, writing

if TYPE_CHECKING:
    from edge_audiokv.eval.bench.plan import Plan

T = TypeVar("T")


@click.command(cls=Command)
@click.argument(
    "recordings",
    nargs=-1,
    metavar="[RECORDING]...",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@click.option("--quick", is_flag=True, help="A minute or two: fewer lengths, shares, repetitions.")
@click.option(
    "--contexts",
    metavar="N,...",
    help="Tokens before the first decoded one.  [default: 512,2048,4096,8192]",
)
@click.option(
    "--budgets",
    metavar="SHARE,...",
    help="Shares of the rows that stay.  [default: 100%,60%,40%,20%]",
)
@click.option(
    "--kv-types",
    metavar="TYPE,...",
    help="Types of key and value rows: f16, q8_0, q4_0, or two such as q8_0/q4_0.  [default: f16]",
)
@click.option(
    "-n",
    "--n-gen",
    type=click.IntRange(1, 4096),
    help="Tokens to decode each time.  [default: 32]",
)
@click.option(
    "-r",
    "--repetitions",
    type=click.IntRange(1, 1000),
    help="How often everything is done.  [default: 5]",
)
@click.option(
    "--cpu-time",
    is_flag=True,
    help="Count CPU time of one thread: ratios, and no speeds, of a machine that is busy.",
)
@click.option(
    "-f",
    "--format",
    "format_name",
    type=click.Choice(["md", "json", "csv"]),
    help="Format of the result; default: what the name of -o stands for, else md.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where it goes; default: standard output.",
)
@click.option(
    "--plot", type=click.Path(path_type=Path), help="Draw speed against length: PNG, SVG, PDF."
)
@some_engine_options("model", "mem", "kv_policy", "kv_options", "threads", "provider")
def bench(
    recordings: tuple[Path, ...],
    quick: bool,
    contexts: str | None,
    budgets: str | None,
    kv_types: str | None,
    n_gen: int | None,
    repetitions: int | None,
    cpu_time: bool,
    format_name: str | None,
    output: Path | None,
    plot: Path | None,
    **values: Any,
) -> None:
    """Measure speed and memory on this machine, beside stock llama.cpp where it was built.

    Prefill, compaction and decoding at every length, share and type of rows, in turns with stock
    llama.cpp's own cache; beside them what the machine's memory would allow. A prompt is read whole
    and then cut, as `transcribe` does. Recordings of speech add reader and latency, in a session
    under --mem. json and csv have llama-bench's names. Ctrl-C tells what there is.

    \b
    Examples:
      edge-audiokv bench --quick
      edge-audiokv bench talk.flac -o bench.json --plot bench.png
      edge-audiokv bench --contexts 4096 --kv-types f16,q8_0,q4_0 --budgets 100%,40%
    """
    from edge_audiokv.eval.bench.report import FORMATS, warnings, write
    from edge_audiokv.eval.bench.run import Bench

    for place in filter(None, (output, plot)):
        check_place(place)
    if plot is not None:
        from edge_audiokv.eval.plots.common import load_pyplot

        load_pyplot()  # a missing extra is told before anything is measured
    if format_name is None:
        ending = output.suffix.removeprefix(".") if output is not None else ""
        format_name = ending if ending in FORMATS else "md"
    plan = _plan(quick, contexts, budgets, kv_types, n_gen, repetitions, cpu_time)
    if cpu_time:
        values["threads"] = 1
    settings = EngineSettings(
        kv_options=dict(values.pop("kv_options")),
        **values,
    )
    with loading(voice.console(), settings.model, missed="measured") as progress:
        run = Bench(plan, settings, recordings, progress=progress)
    end: BaseException | None = None
    try:
        voice.detail(f"a copy moves {run.run.facts.bandwidth_bytes_per_s / 1e9:.1f} GB/s")
        with counted(run.n_steps, "sound") as advance:
            run.measure(advance)
    except (KeyboardInterrupt, Terminated) as broken_off:
        end = broken_off
    found = run.run
    for text in warnings(found.facts, found.rows):
        voice.warn(f"{text}: other programs were at work.")
    told = write(found.facts, found.rows, found.notes, format_name)
    if output is None:
        click.echo(told, nl=False)
    else:
        with writing(output):
            write_whole(output, told)
    if plot is not None:
        from edge_audiokv.eval.plots.bench import plot_bench

        plot_bench(found.rows, plot)
    if end is not None:
        raise end


def _plan(
    quick: bool,
    contexts: str | None,
    budgets: str | None,
    kv_types: str | None,
    n_gen: int | None,
    repetitions: int | None,
    cpu_time: bool,
) -> Plan:
    """What was asked for over the defaults. Raises BadParameter."""
    from edge_audiokv.eval.bench.plan import QUICK, Plan, read_contexts, read_rows, read_shares

    usual = QUICK if quick else Plan()
    return Plan(
        contexts=_read("--contexts", contexts, read_contexts, usual.contexts),
        shares=_read("--budgets", budgets, read_shares, usual.shares),
        rows=_read("--kv-types", kv_types, read_rows, usual.rows),
        n_gen=n_gen or usual.n_gen,
        repetitions=repetitions or usual.repetitions,
        cpu_time=cpu_time,
    )


def _read(option: str, text: str | None, read: Callable[[str], T], usual: T) -> T:
    if text is None:
        return usual
    try:
        return read(text)
    except ValueError as error:
        raise click.BadParameter(f"{error}.", param_hint=option) from None
