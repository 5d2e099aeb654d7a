"""`edge-audiokv models convert`: a checkpoint of a real audio LLM into a model of this program."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.progress import TimeRemainingColumn

from edge_audiokv.bars import FIGURE, Bars, bar_columns
from edge_audiokv.cli import voice
from edge_audiokv.cli.command import Command
from edge_audiokv.cli.ending import Terminated
from edge_audiokv.cli.models.checkpoint import Located, locate
from edge_audiokv.encoder.resident import measured_bytes
from edge_audiokv.engine.memory.heap import bound_heap, trim_heap
from edge_audiokv.errors import EdgeAudioKVError
from edge_audiokv.families import packages
from edge_audiokv.native.threads import usable_cores
from edge_audiokv.output.place import check_name
from edge_audiokv.units import format_bytes, printable

if TYPE_CHECKING:
    from edge_audiokv.families.convert import Converted, Estimate
    from edge_audiokv.families.plan import Plan
    from edge_audiokv.models.entry import ModelEntry

_FOLDER = click.Path(path_type=Path)


@click.command("convert", cls=Command)
@click.argument("checkpoint", metavar="FOLDER|OWNER/NAME")
@click.option(
    "-o",
    "--output-dir",
    type=_FOLDER,
    required=True,
    metavar="DIR",
    help="The folder to make; its name is the model's.",
)
@click.option(
    "--type",
    "llm_type",
    default="Q4_K_M",
    show_default=True,
    metavar="TYPE",
    help="Weights of the LLM: F32, F16, BF16, Q8_0, Q6_K, Q5_K_M, Q4_K_M, Q4_0, IQ4_XS.",
)
@click.option(
    "--encoder-type",
    type=click.Choice(["f32", "fp16", "int8"]),
    help="Weights of the encoder; default: int8 above 300 million, else f32.",
)
@click.option("--llm", metavar="FOLDER|OWNER/NAME", help="The LLM that an Ultravox names.")
@click.option(
    "--whisper", metavar="FOLDER|OWNER/NAME", help="The encoder that an old Ultravox names."
)
@click.option("--dry-run", is_flag=True, help="Only say how large it would be.")
@click.option("-t", "--threads", type=click.IntRange(1, 256), help="Threads; default: all cores.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    checkpoint: str,
    output_dir: Path,
    llm_type: str,
    encoder_type: str | None,
    llm: str | None,
    whisper: str | None,
    dry_run: bool,
    threads: int | None,
    as_json: bool,
) -> None:
    """Convert a checkpoint of a real audio LLM into a model.

    What it makes is a folder that every command takes with -m.

    FOLDER is the checkpoint as the hub has it: config.json, the tokenizer, safetensors; OWNER/NAME,
    or OWNER/NAME@REVISION, is one on the hub, of which that and no more is fetched into the hub's
    cache (HF_HOME; HF_HUB_OFFLINE=1 asks nobody). Known are Ultravox, Qwen3-ASR (-hf), Qwen2-Audio,
    Qwen2.5-Omni, Qwen3-Omni, Voxtral, Audio Flamingo 3, Music Flamingo, GLM-ASR, Granite-Speech,
    Phi-4-multimodal, MOSS-Transcribe-Diarize and Fun-ASR. An adapter that lies beside the weights
    is merged into the LLM. No code of a checkpoint is run, and DIR appears whole or not at all:
    what is done when it is broken off, or killed, is kept beside it, checked by its hashes and
    taken up when the same command is run again.

    The encoder is compared with the checkpoint's, and the tokens of the LLM with its tokenizer's.
    Proven on random weights of every family; nobody here has run real ones yet. Needs
    `pip install 'edge-audiokv[convert]'`, which running the model does not.

    \b
    Examples:
      edge-audiokv models convert Qwen/Qwen3-ASR-0.6B-hf -o qwen3-asr --dry-run
      edge-audiokv models convert ./Qwen3-ASR-0.6B-hf -o qwen3-asr
      edge-audiokv models convert fixie-ai/ultravox-v0_5-llama-3_2-1b \\
        --llm meta-llama/Llama-3.2-1B-Instruct -o ultravox
    """
    packages.need()
    bound_heap()
    check_name(output_dir / "model.toml")
    given = {"checkpoint": checkpoint, "llm": llm, "whisper": whisper}
    parts = {role: locate(text) for role, text in given.items() if text is not None}
    keep_apart()
    # Imported here: torch and transformers take seconds, and are not always there.
    from edge_audiokv.families.convert import convert, estimate
    from edge_audiokv.families.growing import check_room, check_target, left
    from edge_audiokv.models.source import Source

    plan = planned(parts)
    expected = estimate(plan, llm_type, encoder_type)
    fetch_bytes = sum(part.missing_bytes for part in parts.values())
    if dry_run:
        _tell_estimate(expected, fetch_bytes, as_json)
        return
    # Nothing large is fetched for what cannot be converted, or has no room then.
    if fetch_bytes:
        check_target(output_dir)
        same_disk = any(part.shares_disk(output_dir) for part in parts.values())
        check_room(output_dir, expected.disk_bytes + (fetch_bytes if same_disk else 0))
        with bar() as report:
            for part in parts.values():
                part.fetch(report)
        plan = planned(parts)
    try:
        with bar() as report:
            made = convert(
                plan,
                output_dir,
                llm_type=expected.llm_type,
                encoder_type=expected.encoder_type,
                threads=threads or usable_cores(),
                progress=report,
                measure=_measure,
                source=Source(**{role: part.stated(output_dir) for role, part in parts.items()}),
            )
    except (KeyboardInterrupt, Terminated):
        if (kept := left(output_dir)) is not None:
            voice.note(
                "What is done is kept: the same command goes on from there. Else remove"
                f" {printable(str(kept))}"
            )
        raise
    if as_json:
        click.echo(json.dumps(made.to_dict(), indent=2))
    else:
        _tell_made(made)


def planned(parts: dict[str, Located]) -> Plan:
    """What becomes of them, told from all that is here. Raises as `families.table.read` does."""
    from edge_audiokv.families.table import read

    with ExitStack() as stack:
        folders = {role: stack.enter_context(part.outline()) for role, part in parts.items()}
        others = {role: folder for role, folder in folders.items() if role != "checkpoint"}
        try:
            return read(folders["checkpoint"], **others)
        except EdgeAudioKVError as error:
            # What is looked at for a name of the hub lies nowhere that a person knows.
            what = error.what
            for role, part in parts.items():
                if part.repository is not None:
                    what = what.replace(str(folders[role]), str(part.name))
            raise type(error)(what, cure=error.cure) from None


def _measure(path: Path, entry: ModelEntry) -> tuple[tuple[float, int], ...]:
    return measured_bytes(
        path, d_model=entry.d_model, rule=entry.rule, max_window_s=entry.max_audio_s
    )


def keep_apart() -> None:
    """transformers, imported from here on, asks no network, draws no bars and says little."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import huggingface_hub
    import transformers

    # The environment was read when it was imported.
    huggingface_hub.constants.HF_HUB_OFFLINE = True
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


@contextmanager
def bar() -> Iterator[Callable[[str, int, int], None]]:
    """A bar that is renamed from step to step; where nobody watches, a line a step."""
    console = voice.console()
    drawn = Bars(
        *bar_columns(console, TimeRemainingColumn(table_column=FIGURE)),
        console=console,
    )
    task = drawn.add_task("")
    last = ""

    def report(what: str, done: int, total: int) -> None:
        nonlocal last
        if what != last:
            last = what
            # What one step has held is room for the next, which may be another process.
            trim_heap()
            drawn.reset(task, description=what, total=total)
            if drawn.disable:
                voice.note(what)
        drawn.update(task, completed=done, total=total)

    with drawn:
        yield report


def _tell_estimate(expected: Estimate, fetch_bytes: int, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({**expected.to_dict(), "fetch_bytes": fetch_bytes}, indent=2))
        return
    kv_bytes = expected.kv_bytes_per_second
    for label, value in (
        ("family", expected.family),
        *([("to fetch", format_bytes(fetch_bytes))] if fetch_bytes else []),
        (f"LLM, {expected.llm_type}", f"about {format_bytes(expected.llm_bytes)}"),
        (f"encoder, {expected.encoder_type}", f"about {format_bytes(expected.encoder_bytes)}"),
        ("disk on the way", f"about {format_bytes(expected.disk_bytes)}"),
        ("memory on the way", f"about {format_bytes(expected.memory_bytes)}"),
        ("KV rows, f16", f"{format_bytes(kv_bytes)} for a second of sound, nothing evicted"),
    ):
        voice.tell(f"{label:<20} {value}")


def _tell_made(made: Converted) -> None:
    for role, name, size_bytes in made.files:
        voice.tell(f"{role:<14} {format_bytes(size_bytes):>11}  {name}")
    voice.tell(
        f"The encoder's rows differ from the checkpoint's by at most {made.difference:.1e} of their"
        " deviation."
    )
    for note in made.notes:
        voice.tell(note)
    voice.tell(f"{made.name} is ready: -m {printable(str(made.folder))}")
