"""`edge-audiokv listen`: the microphone (or a file, or a pipe) to live text, for hours."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click

from edge_audiokv.audio.endpoint import EndpointConfig
from edge_audiokv.audio.live.early import Early
from edge_audiokv.audio.live.monitor import MonitoredSource, Recorder
from edge_audiokv.audio.opening import make_source
from edge_audiokv.audio.source import AudioSource
from edge_audiokv.cli import complete, voice
from edge_audiokv.cli.command import Command
from edge_audiokv.cli.ending import Terminated
from edge_audiokv.cli.live.desk import Desk
from edge_audiokv.cli.live.keyboard import Keyboard, find_terminal
from edge_audiokv.cli.options import (
    archive_option,
    engine_options,
    fit_format,
    placement_option,
    recall_option,
    result_options,
    segment_option,
    settings_from,
)
from edge_audiokv.cli.results import check_unwritten, format_of, source_name, tell_loaded
from edge_audiokv.engine.facts import model_facts
from edge_audiokv.engine.session import Session, SessionSettings
from edge_audiokv.errors import DeviceError
from edge_audiokv.events import SessionEnded
from edge_audiokv.kv.memory import peak_rss_bytes
from edge_audiokv.output import keep_apart, open_output
from edge_audiokv.output.live import LiveView, PlainView, beside, is_live
from edge_audiokv.units import format_bytes, format_cap, format_clock, printable

if TYPE_CHECKING:
    from rich.console import Console


@click.command(cls=Command)
@click.argument("source", required=False, metavar="[SOURCE]", shell_complete=complete.files)
@engine_options
@click.option("-d", "--device", metavar="ID|NAME", help="Microphone, by number or part of a name.")
@click.option("--raw", metavar="FORMAT", help="SOURCE is raw PCM, such as s16le:16000.")
@click.option("--realtime", is_flag=True, help="Read a file at the pace of its sound.")
@click.option(
    "--context",
    type=click.Choice(["fresh", "rolling"]),
    default="fresh",
    show_default=True,
    help="Decode each segment alone, or with all before it in view.",
)
@click.option("--wake-word", default="", help="A segment that begins with it is a question.")
@click.option(
    "--silence-ms",
    type=click.IntRange(100, 5000),
    default=500,
    show_default=True,
    help="Silence that ends a segment.",
)
@segment_option(15.0)
@click.option("--no-partials", is_flag=True, help="Only final text.")
@result_options
@click.option(
    "--save-audio",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Keep what was heard (WAV, FLAC).",
)
@click.option("--overwrite", is_flag=True, help="Write over the files of -o and --save-audio.")
@placement_option
@recall_option
@archive_option
def listen(
    source: str | None,
    device: str | None,
    raw: str | None,
    realtime: bool,
    context: str,
    wake_word: str,
    silence_ms: int,
    max_segment_s: float,
    no_partials: bool,
    format_name: str | None,
    output: str,
    save_audio: Path | None,
    overwrite: bool,
    placement: str,
    recall: bool,
    archive_path: Path | None,
    **values: Any,
) -> None:
    """Listen and write down what is said, inside --mem, for as long as it takes.

    Without SOURCE the microphone is heard; SOURCE is a file, or - for standard input. While it
    listens, type a question and press Enter: the answer comes from what was heard so far. On a
    terminal it stands at the bottom while it is typed, under a panel that is gone at the end.
    Ctrl-C ends the open segment, prints a summary and exits with 130.

    \b
    Examples:
      edge-audiokv listen --mem 4GB
      edge-audiokv listen -d USB --save-audio day.flac -o day.srt
      arecord -t raw -f S16_LE -r 16000 | edge-audiokv listen - --raw s16le:16000
    """
    settings = SessionSettings(
        context=context,
        wake_word=wake_word,
        partial_interval_s=0.0 if no_partials else 1.0,
        endpoint=EndpointConfig(silence_duration_ms=silence_ms, max_segment_s=max_segment_s),
        archive=archive_path,
        placement=placement,
        recall=recall,
    )
    format_name = format_of(output, format_name)
    engine, writing = fit_format(format_name, settings_from(values), values)
    for target in (output, save_audio):
        if source is not None and target is not None:
            keep_apart(target, [source])
    check_unwritten(output, overwrite=overwrite)
    opened = _source(source, device, raw, realtime)
    if source is not None and source != "-":
        # A wrong path, as no microphone, is told before seconds are spent on loading a model.
        with opened:
            pass
    # Where people look at the words: on standard output if that is the terminal.
    on_terminal = sys.stdout is not None and sys.stdout.isatty()
    shown = output == "-" and format_name == "text" and on_terminal
    # Who reads keys makes way for a shell itself.
    keys = source == "-" or (sys.stdin is not None and sys.stdin.isatty())
    console = voice.console(sys.stdout if shown else sys.stderr, behind=keys)
    # Nothing is drawn, and nothing but text printed, when -q asks for silence.
    quiet = voice.current().is_quiet
    live = is_live(console) and not quiet
    terminal = find_terminal(by_key=live, sound_on_stdin=source == "-")
    with ExitStack() as stack:
        recorder = None
        if save_audio is not None:
            recorder = Recorder(save_audio, overwrite=overwrite)
            recorder.open()
            stack.callback(recorder.close)
        start = stack.enter_context(_Start(recorder))
        make = LiveView if live else PlainView
        view = make(console, finals=shown or output != "-", typing=terminal is not None)
        if not quiet:
            view.loading(engine.model)
        stack.enter_context(view)
        session = Session(engine, settings, progress=None if quiet else view.progress)
        desk = Desk(session, view, recorder)
        if live:
            stack.enter_context(beside(view))
        if live or terminal is not None:
            stack.enter_context(Keyboard(desk, terminal, by_key=live))
        # A fetch may take minutes, which nobody should talk through.
        session.runtime.find()
        heard: AudioSource = MonitoredSource(opened, desk.look)
        if source is None or source == "-":
            heard = stack.enter_context(Early(heard))
        stack.enter_context(session)
        start.is_over = True
        tell_loaded(session.runtime)
        if not shown:
            writer = stack.enter_context(open_output(output, format_name, **writing))
            writer.facts = model_facts(session.runtime)
            stack.callback(lambda: writer.heard(source or "microphone", session.clock_s))
            desk.writer = writer
        session.on_event = desk.handle
        view.status.memory = session.memory()
        if not quiet:
            view.listening()
        code = desk.run(heard)
        if code and source is not None and desk.writer is not None:
            # A microphone can only be ended so; what has an end was broken off.
            desk.writer.heard(source, session.clock_s)
            desk.writer.close(complete=False)
    # Only now: a result on the same terminal is whole.
    _summary(session, desk.ended)
    _tell_where(console, source, [None if shown or output == "-" else output, save_audio])
    if code:
        sys.exit(code)


def _tell_where(console: Console, source: str | None, targets: list[str | Path | None]) -> None:
    """Where the results are, to who watches: what runs in a script has the exit code."""
    written = ", ".join(str(target) for target in targets if target is not None)
    if written and console.is_interactive:
        voice.note(f"{source_name(source)} -> {printable(written)}")


class _Start:
    """Says, once the screen is the shell's again, what is left of a run that never began: nothing,
    but for sound that was recorded meanwhile.
    """

    def __init__(self, recorder: Recorder | None) -> None:
        self.is_over = False
        self._recorder = recorder

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.is_over or kind is None:
            return
        left = ""
        if self._recorder is not None:
            self._recorder.abandon()
            if self._recorder.duration_s:
                name = printable(str(self._recorder.path))
                left = f"{name} holds {self._recorder.duration_s:.1f} s of sound"
        if issubclass(kind, KeyboardInterrupt | Terminated):
            what = f"no text was written; {left}" if left else "nothing was written"
            voice.broken_off(f" while the model was loading: {what}.")
        elif left:
            voice.note(f"{left}.")


def _source(name: str | None, device: str | None, raw: str | None, realtime: bool) -> AudioSource:
    if name is not None:
        if device is not None:
            raise click.UsageError(f"--device is for the microphone, and SOURCE is {name}.")
        return make_source(name, raw=raw, realtime=realtime, live=True)
    if raw is not None:
        raise click.UsageError("--raw needs a SOURCE: - for standard input, or a file.")
    # Imported when it is wanted: files and pipes work without PortAudio.
    microphone = import_module("edge_audiokv.audio.live.microphone")
    number = int(device) if device is not None and device.isdigit() else device
    opened = microphone.MicrophoneSource(number)
    try:
        opened.check()
    except DeviceError as error:
        raise DeviceError(
            error.what, cure=f"{error.cure} A recording needs none: name it."
        ) from None
    source: AudioSource = opened
    return source


def _summary(session: Session, ended: SessionEnded | None) -> None:
    watch = session.final_watch
    clock_s = session.clock_s
    factor = watch.total_s / clock_s if clock_s else 0.0
    count = ended.segments if ended is not None else 0
    reason = f" ({ended.reason})" if ended is not None else ""
    voice.note(
        f"{count} segment{'' if count == 1 else 's'} in {format_clock(clock_s)[:8]}{reason}, "
        f"realtime factor {factor:.2f}, peak RSS {format_bytes(peak_rss_bytes())} "
        f"of --mem {format_cap(session.engine.cap_bytes)}"
    )
    if session.last_report is not None:
        parts = session.last_report.parts.items()
        voice.table([f"  {name:<16}{format_bytes(size):>12}" for name, size in parts])
