"""`edge-audiokv listen`: the microphone (or a file, or a pipe) to live text, for hours."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

import click
from rich.console import Console

from edge_audiokv.audio.endpoint import EndpointConfig
from edge_audiokv.audio.level import measure
from edge_audiokv.audio.live.monitor import MonitoredSource, Recorder
from edge_audiokv.audio.opening import make_source
from edge_audiokv.audio.source import AudioSource, Samples
from edge_audiokv.cli import complete, voice
from edge_audiokv.cli.archive import archive_option
from edge_audiokv.cli.command import Command
from edge_audiokv.cli.ending import ending_signals
from edge_audiokv.cli.options import (
    Number,
    engine_options,
    fit_format,
    result_options,
    settings_from,
)
from edge_audiokv.cli.results import format_of, model_facts, tell_loaded
from edge_audiokv.cli.wording import worded
from edge_audiokv.engine.session import Session, SessionSettings
from edge_audiokv.errors import EdgeAudioKVError, OutputError
from edge_audiokv.events import Event, SessionEnded, Warned
from edge_audiokv.kv.memory import peak_rss_bytes
from edge_audiokv.models.progress import progress_bar
from edge_audiokv.output import Writer, keep_apart, open_output
from edge_audiokv.output.live import PlainView, View, make_view
from edge_audiokv.units import format_bytes, format_cap, format_clock


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
@click.option("--hotword", default="", help="A segment that begins with it is a question.")
@click.option(
    "--silence-ms",
    type=click.IntRange(100, 5000),
    default=500,
    show_default=True,
    help="Silence that ends a segment.",
)
@click.option(
    "--max-segment-s",
    type=Number(2, 30),
    default=15.0,
    show_default=True,
    help="Longest segment; longer speech is split at its quietest point.",
)
@click.option("--no-partials", is_flag=True, help="Only final text.")
@result_options
@click.option(
    "--save-audio",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Keep what was heard (WAV, FLAC).",
)
@archive_option
def listen(
    source: str | None,
    device: str | None,
    raw: str | None,
    realtime: bool,
    context: str,
    hotword: str,
    silence_ms: int,
    max_segment_s: float,
    no_partials: bool,
    format_name: str | None,
    output: str,
    save_audio: Path | None,
    archive_path: Path | None,
    **values: Any,
) -> None:
    """Listen and write down what is said, inside --mem, for as long as it takes.

    Without SOURCE the microphone is heard; SOURCE is a file, or - for standard input. While it
    listens, type a question and press Enter: the answer comes from what was heard so far.
    Ctrl-C ends the open segment, prints a summary and exits with 130.

    \b
    Examples:
      edge-audiokv listen --mem 4GB
      edge-audiokv listen -d USB --save-audio day.flac -o day.srt
      arecord -t raw -f S16_LE -r 16000 | edge-audiokv listen - --raw s16le:16000
    """
    settings = SessionSettings(
        context=context,
        hotword=hotword,
        partial_interval_s=0.0 if no_partials else 1.0,
        endpoint=EndpointConfig(silence_duration_ms=silence_ms, max_segment_s=max_segment_s),
        archive=archive_path,
    )
    format_name = format_of(output, format_name)
    engine, writing = fit_format(format_name, settings_from(values), values)
    for target in (output, save_audio):
        if source is not None and target is not None:
            keep_apart(target, [source])
    opened = _source(source, device, raw, realtime)
    if source is not None and source != "-":
        # A wrong path, as no microphone, is told before seconds are spent on loading a model.
        with opened:
            pass
    # Where people look at the words: on standard output if that is the terminal.
    shown = output == "-" and format_name == "text" and sys.stdout.isatty()
    with ExitStack() as stack:
        recorder = Recorder(save_audio) if save_audio is not None else None
        if recorder is not None:
            recorder.open()
            stack.callback(recorder.close)
        with progress_bar(voice.console()) as report:
            session = Session(engine, settings, progress=report).load()
        stack.enter_context(session)
        tell_loaded(session.runtime)
        writer = None if shown else stack.enter_context(open_output(output, format_name, **writing))
        console = voice.console(sys.stdout if shown else sys.stderr)
        view = stack.enter_context(_view(console, finals=shown or output != "-"))
        desk = _Desk(session, view, writer, recorder)
        session.on_event = desk.handle
        if source != "-" and sys.stdin is not None and sys.stdin.isatty():
            desk.take_questions()
        if writer is not None:
            writer.facts = model_facts(session.runtime)
            stack.callback(lambda: writer.heard(source or "microphone", session.clock_s))
        code = desk.run(MonitoredSource(opened, desk.look))
    # Only now: a result on the same terminal is whole.
    _summary(session, desk.ended)
    if code:
        sys.exit(code)


def _source(name: str | None, device: str | None, raw: str | None, realtime: bool) -> AudioSource:
    if name is not None:
        return make_source(name, raw=raw, realtime=realtime, live=True)
    # Imported when it is wanted: files and pipes work without PortAudio.
    microphone = import_module("edge_audiokv.audio.live.microphone")
    number = int(device) if device is not None and device.isdigit() else device
    opened = microphone.MicrophoneSource(number)
    opened.check()
    source: AudioSource = opened
    return source


def _view(console: Console, *, finals: bool) -> View:
    """Nothing is drawn, and nothing but text printed, when -q asks for silence."""
    if voice.current().is_quiet:
        return PlainView(console, finals)
    return make_view(console, finals=finals)


class _Desk:
    """Takes events to the view and the writer, signals and questions to the session."""

    def __init__(
        self, session: Session, view: View, writer: Writer | None, recorder: Recorder | None
    ) -> None:
        self.session = session
        self.view = view
        self.writer = writer
        self.recorder = recorder
        self.ended: SessionEnded | None = None
        self._lock = threading.Lock()
        self._signal = 0

    def handle(self, event: Event) -> None:
        """Called for every event, by the thread that caused it."""
        with self._lock:
            if self.writer is not None:
                self.writer.write(event)
            if voice.shows(event):
                self.view.show(worded(event))
        if isinstance(event, SessionEnded):
            self.ended = event

    def look(self, samples: Samples) -> None:
        """Called for every block of sound."""
        status, session = self.view.status, self.session
        if len(samples):
            status.level_dbfs = measure(samples).rms_dbfs
        status.clock_s = session.clock_s
        if session.clock_s > 5:
            status.realtime_factor = session.watch.total_s / session.clock_s
        if self.recorder is not None:
            try:
                self.recorder.write(samples)
            except OutputError as error:
                # Listening goes on: the text is worth more than the recording.
                self.handle(Warned(session.clock_s, str(error)))
        with self._lock:
            self.view.refresh()

    def take_questions(self) -> None:
        """Answer lines typed at the terminal, from a thread of their own."""

        def read() -> None:
            for line in sys.stdin:
                if not line.strip():
                    continue
                try:
                    self.session.ask(line)
                except EdgeAudioKVError as error:
                    self.handle(Warned(self.session.clock_s, str(error)))

        threading.Thread(target=read, name="questions", daemon=True).start()

    def run(self, source: AudioSource) -> int:
        """Listen until the source ends or a signal comes; the exit code."""
        numbers = [signal.SIGINT, *ending_signals()]
        before = {number: signal.getsignal(number) for number in numbers}
        for number in before:
            signal.signal(number, self._on_signal)
        try:
            for _event in self.session.listen(source):
                pass  # handle() has seen it
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        return 128 + self._signal if self._signal else 0

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._signal:
            raise KeyboardInterrupt
        self._signal = number
        self.session.stop("interrupted" if number == signal.SIGINT else "terminated")


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
