"""`edge-audiokv transcribe`: recordings to text, with the bytes it took."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from edge_audiokv.audio.endpoint import EndpointConfig, Segment
from edge_audiokv.audio.file import FileSource
from edge_audiokv.audio.opening import make_source
from edge_audiokv.audio.source import AudioSource
from edge_audiokv.cli.options import (
    Number,
    engine_options,
    fit_format,
    result_options,
    settings_from,
)
from edge_audiokv.engine.transcriber import Transcriber
from edge_audiokv.errors import InputError
from edge_audiokv.events import Final, Warned
from edge_audiokv.kv.memory import peak_rss_bytes, rss_bytes
from edge_audiokv.models.progress import progress_bar
from edge_audiokv.output import keep_apart, open_output
from edge_audiokv.units import format_bytes, format_cap, printable


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@engine_options
@click.option("--raw", metavar="FORMAT", help="FILE is raw PCM, such as s16le:16000.")
@result_options
@click.option(
    "--max-segment-s",
    type=Number(2, 30),
    default=20.0,
    show_default=True,
    help="Longest stretch that is decoded at once.",
)
@click.option("--verbose", is_flag=True, help="Say where bytes and time went, on stderr.")
@click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")
def transcribe(
    files: tuple[str, ...],
    raw: str | None,
    format_name: str,
    output: str,
    max_segment_s: float,
    verbose: bool,
    quiet: bool,
    **values: Any,
) -> None:
    """Transcribe recordings of any length.

    FILE is anything libsndfile reads (WAV, FLAC, OGG, Opus, MP3), at any rate, or - for standard
    input. Speech is found, cut at pauses and decoded piece by piece; the result goes to standard
    output. Several files make one result, whose times run on from file to file.

    \b
    Examples:
      edge-audiokv transcribe talk.flac
      edge-audiokv transcribe talk.flac --kv-budget 40% --verbose
      edge-audiokv transcribe a.wav b.wav --format srt -o all.srt
      edge-audiokv transcribe talk.mp3 --mem 600MB --format jsonl | head
      ffmpeg -i film.mkv -f s16le -ac 1 -ar 16000 - | edge-audiokv transcribe - --raw s16le:16000
    """
    console = Console(stderr=True, quiet=quiet)
    settings, writing = fit_format(format_name, settings_from(values), values)
    if files.count("-") > 1:
        raise InputError("standard input can be read once.", cure="Name - once.")
    keep_apart(output, files)
    sources = [make_source(name, raw=raw) for name in files]
    endpoint = EndpointConfig(max_segment_s=max_segment_s)
    with ExitStack() as stack:
        # Wrong paths, and places that cannot be written, are told before a model is loaded.
        for name, source in zip(files, sources, strict=True):
            if name == "-":
                stack.enter_context(source)  # it cannot be opened again
                continue
            with source:
                pass
        writer = stack.enter_context(open_output(output, format_name, **writing))
        with progress_bar(Console(stderr=True, quiet=quiet)) as report:
            transcriber = stack.enter_context(
                Transcriber(settings, endpoint=endpoint, progress=report)
            )
        # Several files make one timeline and one count, as if they had been joined.
        offset_s, count = 0.0, 0
        for name, source in zip(files, sources, strict=True):
            spoken = False
            doubts: list[str] = []
            with source:
                for final in _with_progress(
                    transcriber, source, printable(Path(name).name), console, doubts.append
                ):
                    writer.write(final.moved(count, offset_s))
                    count += 1
                    spoken = spoken or bool(final.text.strip())
                for event in source.take_events():
                    if isinstance(event, Warned):
                        doubts.append(event.message)
                for doubt in doubts:
                    click.echo(f"warning: {printable(doubt)}", err=True)
                offset_s += source.clock_s
            if not spoken:
                # An empty result looks like a failure that was kept quiet.
                where = "standard input" if name == "-" else printable(name)
                click.echo(f"warning: no speech was found in {where}.", err=True)
        if verbose:
            for line in report_lines(transcriber):
                click.echo(line, err=True)


def _with_progress(
    transcriber: Transcriber,
    source: AudioSource,
    name: str,
    console: Console,
    on_warning: Callable[[str], None],
) -> Iterator[Final]:
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:.0f}{task.fields[of]} s"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}", style="dim", markup=False),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        # What comes raw does not say how long it is.
        total_s = max(source.duration_s, 0.01) if isinstance(source, FileSource) else None
        of = f"/{total_s:.0f}" if total_s is not None else ""
        task = bar.add_task(name, total=total_s, text="", of=of)

        def on_segment(segment: Segment) -> None:
            bar.update(task, completed=segment.start_s)

        def on_text(text: str) -> None:
            bar.update(task, text=text[-50:])

        hear = transcriber.transcribe(
            source,
            on_segment=on_segment,
            on_text=on_text if console.is_terminal else None,
            on_warning=on_warning,
        )
        for final in hear:
            bar.update(task, completed=final.end_s, text="")
            yield final


def report_lines(transcriber: Transcriber) -> list[str]:
    """Where the bytes are, as the native layer and the kernel report them, and where time went."""
    cache, watch = transcriber.cache, transcriber.watch
    settings = transcriber.settings
    capacity = cache.context.capacity
    parts = transcriber.runtime.ledger.parts()
    # Vocabulary, libraries, allocator: what the kernel counts and no part owns.
    parts["the rest"] = max(0, rss_bytes() - sum(parts.values()))
    lines = ["", "memory"]
    lines += [f"  {name:<16}{format_bytes(size):>12}" for name, size in parts.items()]
    full_bytes = cache.full_pool_nbytes
    lines += [
        f"  {'peak RSS':<16}{format_bytes(peak_rss_bytes()):>12}"
        f"  of --mem {format_cap(settings.cap_bytes)}",
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
