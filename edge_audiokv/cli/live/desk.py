"""Where events, signals, sound and typed questions of `listen` meet."""

from __future__ import annotations

import queue
import signal
import threading
from types import FrameType

from edge_audiokv.audio.level import measure
from edge_audiokv.audio.live.monitor import MonitoredSource, Recorder
from edge_audiokv.audio.source import AudioSource, Samples
from edge_audiokv.cli import voice
from edge_audiokv.cli.ending import signals_call
from edge_audiokv.cli.live.keys import Key
from edge_audiokv.cli.live.line import MAX_CHARS, InputLine
from edge_audiokv.cli.wording import worded
from edge_audiokv.engine.session import Session
from edge_audiokv.errors import InputError, OutputError, UnfitModelError
from edge_audiokv.events import Event, SessionEnded, Warned
from edge_audiokv.output import Writer
from edge_audiokv.output.live import View
from edge_audiokv.units import printable

# Questions that wait for their answer.
_MAX_WAITING = 4


class Desk:
    """Takes events to the view and the writer, signals and questions to the session."""

    def __init__(self, session: Session, view: View, recorder: Recorder | None) -> None:
        self.session = session
        self.view = view
        self.writer: Writer | None = None
        self.recorder = recorder
        self.ended: SessionEnded | None = None
        self._lock = threading.Lock()
        self._signal = 0
        self._line = InputLine()
        self._questions: queue.Queue[str] = queue.Queue(_MAX_WAITING)

    def handle(self, event: Event) -> None:
        """Called for every event, by the thread that caused it."""
        if isinstance(event, SessionEnded):
            self.answer()  # what was asked before the sound was over
            self._tell_unanswered()
        with self._lock:
            if self.writer is not None:
                self.writer.write(event)
            if voice.shows(event):
                self.view.show(worded(event))
        if isinstance(event, SessionEnded):
            self.ended = event

    def look(self, samples: Samples) -> None:
        """Called for every block of sound, also of what comes while the model loads."""
        status, session = self.view.status, self.session
        if len(samples):
            status.level_dbfs = measure(samples).rms_dbfs
        if session.clock_s > 5:
            status.realtime_factor = session.watch.total_s / session.clock_s
        if self.recorder is not None:
            try:
                self.recorder.write(samples)
            except OutputError as error:
                # Listening goes on: the text is worth more than the recording.
                self.handle(Warned(session.clock_s, str(error)))

    # --- the keyboard -----------------------------------------------------------------------------

    def pressed(self, keys: list[Key | str]) -> None:
        """Edit the line; a line that was sent is a question."""
        status, line = self.view.status, self._line
        status.note = ""
        for key in keys:
            sent = line.press(key)
            if line.full:
                status.note = f"a question has at most {MAX_CHARS} characters"
            if sent is not None and not self._put(sent):
                line.press(sent)
                status.note = "other questions are still waiting for their answers"
        if status.typed is not None:
            status.typed = line.before, line.after
        self.view.redraw()

    def tick(self) -> None:
        self.view.status.clock_s = self.session.clock_s
        self.view.refresh()

    def let_go(self) -> None:
        self.view.pause()

    def take_again(self) -> None:
        self.view.resume()

    def _put(self, question: str) -> bool:
        try:
            self._questions.put_nowait(question)
        except queue.Full:
            return False
        if not self.view.status.question:
            self.view.status.question = printable(question)
        return True

    def answer(self, _samples: Samples | None = None) -> None:
        """Answer what was typed; called between two blocks of sound by the thread that listens."""
        status = self.view.status
        while not self._questions.empty() and not self._signal:
            question = self._questions.get()
            status.question, status.answer = printable(question), ""
            self.view.refresh()
            try:
                self.session.ask(question, on_text=self._grow)
            except (InputError, UnfitModelError) as error:
                self.handle(Warned(self.session.clock_s, str(error)))
            finally:
                status.question = status.answer = ""

    def _tell_unanswered(self) -> None:
        """Who broke off is told which questions have no answer."""
        while not self._questions.empty():
            question = printable(self._questions.get())
            told = f'broken off before it was answered: "{question}"'
            self.handle(Warned(self.session.clock_s, told))
        self.view.status.question = ""

    def _grow(self, text: str) -> None:
        self.view.status.answer = printable(text)

    # --- listening --------------------------------------------------------------------------------

    def run(self, source: AudioSource) -> int:
        """Listen until the source ends or a signal comes; the exit code."""
        with signals_call(self._on_signal):
            for _event in self.session.listen(MonitoredSource(source, self.answer)):
                pass  # handle() has seen it
        return 128 + self._signal if self._signal else 0

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._signal:
            raise KeyboardInterrupt
        self._signal = number
        self.view.status.ending = True
        self.session.stop("interrupted" if number == signal.SIGINT else "terminated")
