"""`edge-audiokv transcribe`: recordings to text, with the bytes it took."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import TextColumn, TimeRemainingColumn

from edge_audiokv.audio.endpoint import EndpointConfig, Segment
from edge_audiokv.audio.files.file import FileSource
from edge_audiokv.audio.opening import make_source
from edge_audiokv.audio.source import AudioSource
from edge_audiokv.bars import FIGURE, Bars, Cut, bar_columns
from edge_audiokv.cli import complete, voice
from edge_audiokv.cli.command import Command
from edge_audiokv.cli.ending import Terminated
from edge_audiokv.cli.loading import loading
from edge_audiokv.cli.options import (
    archive_option,
    engine_options,
    fit_format,
    result_options,
    segment_option,
    settings_from,
)
from edge_audiokv.cli.results import (
    check_unwritten,
    find_inputs,
    format_of,
    make_folders,
    plan_targets,
    source_name,
    tell_loaded,
)
from edge_audiokv.engine.facts import model_facts
from edge_audiokv.engine.runtime import Runtime
from edge_audiokv.engine.transcriber import Transcriber
from edge_audiokv.errors import InputError
from edge_audiokv.events import Final, Warned
from edge_audiokv.kv.memory import peak_rss_bytes, rss_bytes
from edge_audiokv.output import Writer, keep_apart, open_output
from edge_audiokv.units import format_bytes, format_cap, format_clock, last_words, printable

if TYPE_CHECKING:
    from edge_audiokv.archive.recording import Recording


@click.command(cls=Command)
@click.argument("files", nargs=-1, required=True, metavar="FILE...", shell_complete=complete.files)
@engine_options
@click.option("--raw", metavar="FORMAT", help="FILE is raw PCM, such as s16le:16000.")
@result_options
@segment_option(20.0)
@click.option(
    "--output-dir",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="A file for each FILE, in this folder, instead of one result.",
)
@click.option("--overwrite", is_flag=True, help="Write over results that are there.")
@archive_option
def transcribe(
    files: tuple[str, ...],
    raw: str | None,
    format_name: str | None,
    output: str,
    output_dir: Path | None,
    overwrite: bool,
    max_segment_s: float,
    archive_path: Path | None,
    **values: Any,
) -> None:
    """Transcribe recordings of any length.

    FILE is a sound file (WAV, FLAC, OGG, Opus, MP3, AIFF; with the extra `av` M4A and films, too),
    at any rate, a folder of such files, or - for standard input. Speech is found, cut at pauses and
    decoded piece by piece; the result goes to standard output. Several files make one result, whose
    times run on from file to file, or, with --output-dir, one each: then a file that cannot be read
    is told and the others are still done.

    \b
    Examples:
      edge-audiokv transcribe talk.flac -o talk.srt --mem 1GB
      edge-audiokv transcribe recordings/ --output-dir texts --format jsonl
      ffmpeg -i film.mkv -f s16le -ac 1 -ar 16000 - |
        edge-audiokv transcribe - --raw s16le:16000
    """
    console = voice.console()
    format_name = format_of(output, format_name)
    settings, writing = fit_format(format_name, settings_from(values), values)
    if files.count("-") > 1:
        raise click.UsageError("Standard input can be read once: name - once.")
    inputs = find_inputs(files)
    names = [item.path for item in inputs]
    targets: list[Path] = []
    if output_dir is None:
        keep_apart(output, names)
        check_unwritten(output, overwrite=overwrite)
    elif output != "-":
        raise click.UsageError("-o and --output-dir exclude each other.")
    else:
        targets = plan_targets(inputs, output_dir, format_name, overwrite=overwrite)
        for target in targets:
            keep_apart(target, names)
    sources = [make_source(name, raw=raw) for name in names]
    endpoint = EndpointConfig(max_segment_s=max_segment_s)
    with ExitStack() as stack:
        # Wrong paths, and places that cannot be written, are told before a model is loaded.
        for name, source in zip(names, sources, strict=True):
            if name == "-":
                stack.enter_context(source)  # it cannot be opened again
            elif output_dir is None:
                with source:
                    pass
        make_folders(targets)
        recording = None
        if archive_path is not None:
            # Imported when it is wanted, as in Session.
            from edge_audiokv.archive.recording import Recording

            recording = stack.enter_context(Recording(archive_path, model=settings.model))
        joined = None
        if output_dir is None:
            joined = stack.enter_context(open_output(output, format_name, **writing))
        with loading(console, settings.model) as report:
            transcriber = stack.enter_context(
                Transcriber(settings, endpoint=endpoint, progress=report)
            )
            transcriber.load()
        if joined is not None:
            stack.enter_context(_telling_what_is_kept(output, joined))
        tell_loaded(transcriber.runtime)
        hear = _Hearer(transcriber, console, recording, several=len(names) > 1)
        if joined is not None:
            for name, source in zip(names, sources, strict=True):
                hear.into(joined, name, source)
        else:
            failed = None
            for name, source, target in zip(names, sources, targets, strict=True):
                try:
                    # Whoever finds a file in the folder takes it for finished: who breaks off is
                    # told which is not.
                    with (
                        open_output(target, format_name, whole=True, **writing) as writer,
                        _telling_what_is_kept(str(target), writer),
                    ):
                        hear.into(writer, name, source)
                    voice.note(f"{source_name(name)} -> {printable(str(target))}")
                except InputError as error:
                    # The others can be read all the same; what there was of this one is kept.
                    voice.error(str(error))
                    failed = failed or error
                hear.start_over()
            if failed is not None:
                raise InputError(
                    "Not every file could be read.", cure="What was wrong stands above."
                )
        if joined is not None and output != "-" and console.is_interactive:
            # Who watches saw bars that are gone; what runs in a script has the exit code.
            heard = source_name(names[0]) if len(names) == 1 else f"{len(names)} files"
            voice.note(f"{heard} -> {printable(output)}")
        if voice.current().is_verbose:
            voice.table(report_lines(transcriber))


class _Hearer:
    """Hears one file after another. Those of one result are one timeline and one count."""

    def __init__(
        self,
        transcriber: Transcriber,
        console: Console,
        recording: Recording | None,
        *,
        several: bool,
    ) -> None:
        self._transcriber, self._console, self._recording = transcriber, console, recording
        self._several = several
        self._offset_s, self._count = 0.0, 0
        self._facts = model_facts(transcriber.runtime)

    def start_over(self) -> None:
        """What comes next belongs to another result."""
        self._offset_s, self._count = 0.0, 0

    def into(self, writer: Writer, name: str, source: AudioSource) -> None:
        """Write what is said in `source`; warnings follow on stderr. Raises InputError."""
        spoken = False
        doubts: list[str] = []
        writer.about, writer.facts = {"file": printable(name)}, self._facts
        begun_s = time.monotonic()
        if self._recording is not None:
            self._recording.begin(source_name(name))
        with source, ExitStack() as at_end:
            at_end.callback(lambda: writer.heard(printable(name), source.clock_s))
            whose = f"{printable(name)}: " if self._several else ""
            told = _with_progress(
                self._transcriber,
                source,
                printable(Path(name).name),
                self._console,
                lambda doubt: doubts.append(whose + doubt),
            )
            for final in told:
                complaint = self._recording.keep(final) if self._recording is not None else None
                if complaint is not None:
                    doubts.append(complaint)
                writer.write(final.moved(self._count, self._offset_s))
                self._count += 1
                spoken = spoken or bool(final.text.strip())
            for event in source.take_events():
                if isinstance(event, Warned):
                    doubts.append(event.message)
            for doubt in doubts:
                voice.warn(doubt)
            self._offset_s += source.clock_s
            took_s = time.monotonic() - begun_s
            voice.detail(f"{printable(name)}: {source.clock_s:.1f} s heard in {took_s:.1f} s")
        if not spoken:
            # An empty result looks like a failure that was kept quiet.
            voice.warn(f"no speech was found in {'standard input' if name == '-' else name}.")


@contextmanager
def _telling_what_is_kept(output: str, writer: Writer) -> Iterator[None]:
    """Who breaks off is told what `output` holds now: - is where text goes by default."""
    try:
        yield
    except (KeyboardInterrupt, Terminated):
        name = "the result" if output == "-" else printable(output)
        clock = format_clock(writer.end_s)[:8]
        if writer.begun:
            voice.broken_off(f": {name} holds what was said until {clock}.")
        else:
            where = "" if output == "-" else f" to {name}"
            voice.broken_off(f" before the first words: nothing was written{where}.")
        raise


def _with_progress(
    transcriber: Transcriber,
    source: AudioSource,
    name: str,
    console: Console,
    on_warning: Callable[[str], None],
) -> Iterator[Final]:
    bar = Bars(
        *bar_columns(
            console,
            TextColumn("{task.completed:.0f}{task.fields[of]} s", table_column=FIGURE),
            TimeRemainingColumn(table_column=FIGURE),
            Cut("{task.fields[text]}", style="dim"),
        ),
        console=console,
    )
    # Where results go to the same screen they stand above the bar, which makes way for each.
    shared = console.is_interactive and sys.stdout is not None and sys.stdout.isatty()
    # The newest words, beside a name and figures.
    text_chars = min(50, max(10, (console.width - 34) // 2))
    with bar:
        # What comes raw does not say how long it is.
        total_s = max(source.duration_s, 0.01) if isinstance(source, FileSource) else None
        of = f"/{total_s:.0f}" if total_s is not None else ""
        task = bar.add_task(name, total=total_s, text="", of=of)

        def on_segment(segment: Segment) -> None:
            bar.update(task, completed=segment.start_s)

        def on_text(text: str) -> None:
            bar.update(task, text=last_words(text, text_chars))

        hear = transcriber.transcribe(
            source,
            on_segment=on_segment,
            on_text=on_text if console.is_interactive else None,
            on_warning=on_warning,
        )
        for final in hear:
            bar.update(task, completed=final.end_s, text="")
            if shared:
                bar.stop()
            yield final
            if shared:
                bar.start()


def report_lines(transcriber: Transcriber) -> list[str]:
    """Where the bytes are, as the native layer and the kernel report them, and where time went."""
    cache, watch = transcriber.cache, transcriber.watch
    settings = transcriber.settings
    capacity = cache.context.capacity
    parts = transcriber.runtime.ledger.parts()
    resident_bytes = rss_bytes()
    rest_bytes = resident_bytes - sum(parts.values())
    # Vocabulary, libraries, allocator: what the kernel counts and no part owns; less what a part
    # may take and has not touched.
    rest = f"{'-' if rest_bytes < 0 else ''}{format_bytes(abs(rest_bytes))}"
    untouched = "  (not all of the parts is touched yet)" if rest_bytes < 0 else ""
    lines = ["", "memory"]
    lines += [f"  {name:<16}{format_bytes(size):>12}" for name, size in parts.items()]
    lines.append(f"  {'the rest':<16}{rest:>12}{untouched}")
    lines.append(f"  {'RSS':<16}{format_bytes(resident_bytes):>12}")
    full_bytes = cache.full_pool_nbytes
    lines.append(
        f"  {'peak RSS':<16}{format_bytes(peak_rss_bytes()):>12}"
        f"  of --mem {format_cap(settings.cap_bytes)}"
    )
    lines += device_lines(transcriber.runtime)
    lines += [
        "cache",
        f"  policy          {settings.kv_policy}, {settings.kv_share:.0%} of the rows kept",
        f"  pools           {format_bytes(cache.context.pool_nbytes)} allocated, "
        f"{format_bytes(full_bytes)} for every row of the longest segment in f16 "
        f"({cache.context.pool_nbytes / full_bytes:.0%})",
        f"  rows per head   {capacity.min()} to {capacity.max()} "
        f"in {len(set(capacity.ravel().tolist()))} levels",
        f"  evictions       {cache.stats.evictions}, {cache.stats.freed_rows} rows and "
        f"{format_bytes(cache.stats.freed_bytes)} freed",
        "time",
        f"  audio           {watch.audio_s:.1f} s, {watch.audio_tokens} tokens",
        f"  encode          {watch.encode_s:.2f} s",
        f"  prefill         {watch.prefill_s:.2f} s, of which eviction {cache.stats.evict_s:.2f} s",
        f"  decode          {watch.decode_s:.2f} s, {watch.text_tokens} tokens",
        f"  realtime factor {watch.realtime_factor:.3f}",
    ]
    if watch.flags:
        cuts = ", ".join(f"{count} {flag}" for flag, count in watch.flags.items())
        lines.append(f"  guard           {cuts}")
    return lines


def device_lines(runtime: Runtime) -> list[str]:
    """Where the LLM lies, and what it takes of a device's own memory; nothing for the CPU."""
    offload = runtime.offload
    if offload.device is None:
        return []
    layers = "all layers" if offload.takes_all else f"{offload.n_layers} layers"
    cache = "the cache" if offload.takes_cache else "the cache in the machine's memory"
    lines = ["device", f"  {offload.device.name:<16}{layers}, {cache}"]
    parts = runtime.ledger.device_parts()
    lines += [f"  {name:<16}{format_bytes(size):>12}" for name, size in parts.items()]
    if offload.is_apart:
        sum_bytes = sum(parts.values())
        lines.append(
            f"  {'sum':<16}{format_bytes(sum_bytes):>12}"
            f"  of --gpu-mem {format_cap(offload.cap_bytes)}"
        )
    return lines
