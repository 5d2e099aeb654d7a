"""edge-audiokv calibrate: measure which KV heads a model's hearing rests on."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from edge_audiokv.cli import complete, voice
from edge_audiokv.cli.command import Command
from edge_audiokv.cli.values import Number
from edge_audiokv.output.place import check_place, writing

Report = Callable[[str, int, int], None]
_COUNT = click.IntRange(min=1)
_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command(cls=Command)
@click.option(
    "-m",
    "--model",
    default="smollm2-audio",
    show_default=True,
    metavar="NAME|DIR",
    shell_complete=complete.models,
    help="The model to calibrate.",
)
@click.option(
    "--data",
    type=_FILE,
    required=True,
    metavar="MANIFEST",
    help='JSONL clips with "path" and "text"; may carry "words" with times.',
)
@click.option(
    "--sound-data", type=_FILE, metavar="MANIFEST", help="JSONL of sounds, for the sound table."
)
@click.option(
    "--loss-data", type=_FILE, metavar="MANIFEST", help="Clips of the loss table (default: --data)."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="The head profile to write.",
)
@click.option("--plot", type=click.Path(path_type=Path), help="A heat map, PNG.")
@click.option(
    "--clips", type=_COUNT, default=60, show_default=True, help="Utterances for the speech table."
)
@click.option(
    "--sounds", type=_COUNT, default=40, show_default=True, help="Sounds for the sound table."
)
@click.option(
    "--loss-clips", type=_COUNT, default=6, show_default=True, help="Joins for the loss table."
)
@click.option(
    "--loss-seconds", type=Number(1, 30), default=18.0, show_default=True, help="Length of a join."
)
@click.option(
    "--low-share", type=Number(0, 1), default=0.12, show_default=True, help="What a cut head keeps."
)
@click.option(
    "--min-confidence",
    type=Number(0, 1),
    default=0.95,
    show_default=True,
    help="Of a word's times.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Threads of the LLM.",
)
@click.option(
    "--tables", default="speech,sound,loss", show_default=True, help="Which tables to make."
)
@click.option("--fresh", is_flag=True, help="Forget an unfinished run instead of resuming it.")
def calibrate(
    model: str,
    data: Path,
    sound_data: Path | None,
    loss_data: Path | None,
    output: Path,
    plot: Path | None,
    clips: int,
    sounds: int,
    loss_clips: int,
    loss_seconds: float,
    low_share: float,
    min_confidence: float,
    threads: int,
    tables: str,
    fresh: bool,
) -> None:
    """Measure which KV heads a model's hearing rests on, and write its head profile.

    The speech table counts how often a head looks at the sound of the word that is written
    (AudioKV); the sound table does so for loud frames; the loss table measures what the text loses
    when the head is cut short. An unfinished run is taken up where it stopped.

    When a word was said is what the manifest says ("words": [{"text", "start_s", "end_s"}]), or
    what an encoder says that names the words it hears, as the default model's does, or else where
    the LLM itself looks as it reads the text.

    \b
    Examples:
      edge-audiokv calibrate --data clips.jsonl --tables speech,loss -o heads.json
      edge-audiokv calibrate --data words.jsonl --sound-data esc10.jsonl \\
        -o heads.json --plot heads.png
    """
    from edge_audiokv.calibrate.heatmap import draw
    from edge_audiokv.calibrate.parts import load_parts
    from edge_audiokv.calibrate.run import Calibration

    wanted = {name.strip() for name in tables.split(",")}
    unknown = wanted - {"speech", "sound", "loss"}
    if unknown:
        raise click.BadParameter(
            f"{', '.join(sorted(unknown))}: choose from speech, sound, loss.", param_hint="--tables"
        )
    state = output.with_name(output.name + ".state")
    for place in filter(None, (output, state, plot)):
        check_place(place)
    if fresh:
        state.unlink(missing_ok=True)
    parts = load_parts(model)
    try:
        with _bars() as report:
            run = Calibration(parts, state, n_threads=threads, report=report)
            if "speech" in wanted:
                run.hits(data, clips, min_confidence)
            if "sound" in wanted and sound_data is not None:
                run.sounds(sound_data, sounds, "What do you hear?")
            if "loss" in wanted:
                run.losses(loss_data or data, loss_clips, loss_seconds, low_share)
        profile = run.profile(made_with=_command())
    finally:
        parts.close()
    with writing(output):
        profile.save(output)
    if plot is not None:
        draw(profile, plot)
    state.unlink(missing_ok=True)
    for name, note in profile.notes.items():
        table = profile.tables[name]
        best = sorted(((float(w), i) for i, w in enumerate(table.ravel())), reverse=True)[:5]
        heads = ", ".join(f"{i // table.shape[1]}.{i % table.shape[1]} {w:.3f}" for w, i in best)
        voice.tell(f"{name}: {note}; strongest heads (layer.head) {heads}")
    voice.note(f"Wrote {output}")


def _command() -> str:
    """This command with file names instead of whole paths."""
    words = [Path(word).name if "/" in word else word for word in sys.argv[1:]]
    return shlex.join(["edge-audiokv", *words])


@contextmanager
def _bars() -> Iterator[Report]:
    from rich.progress import MofNCompleteColumn, TimeRemainingColumn

    from edge_audiokv.bars import FIGURE, Bars, bar_columns

    console = voice.console()
    columns = bar_columns(
        console,
        MofNCompleteColumn(table_column=FIGURE),
        TimeRemainingColumn(table_column=FIGURE),
    )
    with Bars(*columns, console=console) as progress:
        tasks = {}

        def report(table: str, done: int, total: int) -> None:
            if table not in tasks:
                tasks[table] = progress.add_task(f"{table} table", total=total)
            progress.update(tasks[table], completed=done, total=total)

        yield report
