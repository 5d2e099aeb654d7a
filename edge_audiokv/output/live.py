"""What a person sees while the machine listens: finals with their times, and what goes on now.

On a terminal a panel at the bottom is redrawn and finals scroll above it; elsewhere each thing
worth knowing is one plain line. Neither prints results to standard output unless the view was
given a console on it.
"""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Iterator
from contextlib import (
    AbstractContextManager,
    ExitStack,
    closing,
    contextmanager,
    redirect_stderr,
    redirect_stdout,
    suppress,
)
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self, TextIO

from rich.console import Console
from rich.text import Text

from edge_audiokv.events import (
    Answer,
    DeviceLost,
    DeviceRestored,
    Event,
    Final,
    Overflow,
    Partial,
    SpeechStarted,
    Stalled,
    Warned,
)
from edge_audiokv.output import region
from edge_audiokv.output.answer import clocks_of
from edge_audiokv.output.fold import fitted
from edge_audiokv.output.panel import Status, panel
from edge_audiokv.output.text import one_line
from edge_audiokv.units import format_bytes, format_clock, printable

_REDRAWS_HZ = 8
_TIME_CELLS = len("00:00:00 ")


def notice(event: Event) -> list[tuple[str, str]]:
    """Lines about an event that a person should see, each with its style; none for the others."""
    match event:
        case Final():
            text = printable(one_line(event.text))
            return [(f"{format_clock(event.start_s)[:8]} {text}", "")] if text else []
        case Answer():
            question, answer = printable(event.question), printable(event.text)
            return [(f"Q: {question}", "cyan"), (f"A: {answer}{clocks_of(event)}", "bold")]
        case Warned():
            return [(f"warning: {printable(event.message)}", "yellow")]
        case DeviceLost():
            return [(f"microphone lost: {printable(event.device)}; waiting for it", "red")]
        case DeviceRestored():
            return [(f"microphone is back: {printable(event.device)}", "green")]
        case Overflow():
            lost = f"warning: {event.dropped_samples} samples dropped; the machine is too slow"
            return [(lost, "yellow")]
        case Stalled():
            return [(f"warning: no progress for {event.waited_s:.1f} s", "yellow")]
        case _:
            return []


class View(Protocol):
    """What `listen` talks to, terminal or not. Any thread may."""

    status: Status

    def show(self, event: Event) -> None: ...

    def refresh(self) -> None:
        """The owner has changed `status`."""

    def redraw(self) -> None:
        """The same, now: a key was pressed."""

    def loading(self, name: str) -> None:
        """Say what is loaded; also before the block."""

    def progress(self, name: str, done_bytes: int, total_bytes: int) -> None:
        """Say how far a fetch, or a file that is made, is."""

    def listening(self) -> None:
        """All is loaded."""

    def aside(self) -> AbstractContextManager[None]:
        """Somebody else writes to the same terminal within."""

    def pause(self) -> None:
        """Leave nothing on the terminal, until `resume`."""

    def resume(self) -> None:
        """The terminal is ours again, whatever others left on it."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


@dataclass
class PlainView:
    """Plain lines, for logs, pipes and simple terminals.

    `finals` says whether finals and answers are printed; `typing` that questions can be typed.
    """

    console: Console
    finals: bool = False
    typing: bool = False
    status: Status = field(default_factory=Status)

    def __post_init__(self) -> None:
        self._lock = threading.RLock()
        self._fetched = ""

    def show(self, event: Event) -> None:
        with self._lock:
            self.status.take(event)
            for line, style in self._lines(event):
                self._print(line, style)

    def _lines(self, event: Event) -> list[tuple[str, str]]:
        if isinstance(event, (Final, Answer)) and not self.finals:
            return []
        return notice(event)

    def _print(self, line: str, style: str = "") -> None:
        self.console.print(Text(self._folded(line, style), style), soft_wrap=True)

    def _folded(self, line: str, style: str) -> str:
        # Finals alone have no style, and begin with their time.
        return fitted(line, self.console.file, 0 if style else _TIME_CELLS)

    def refresh(self) -> None:
        pass

    def redraw(self) -> None:
        pass

    def loading(self, name: str) -> None:
        # A log gets what goes wrong; a person wants to know why nothing is heard yet.
        if self.console.is_terminal:
            self._print(f"loading {name} ...")

    def progress(self, name: str, done_bytes: int, total_bytes: int) -> None:
        if name != self._fetched and name.startswith("fetch "):
            self._fetched = name
            self._print(f"{name} ({format_bytes(total_bytes)})")

    def listening(self) -> None:
        if self.console.is_terminal:
            asking = "; type a question and press Enter at any time" if self.typing else ""
            self._print(f"listening{asking}; Ctrl-C ends")

    @contextmanager
    def aside(self) -> Iterator[None]:
        yield

    def pause(self) -> None:
        pass

    def resume(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass


class LiveView(PlainView):
    """The same, with the panel at the bottom. It takes itself away when it ends."""

    def __init__(self, console: Console, *, finals: bool = True, typing: bool = False) -> None:
        super().__init__(console, finals, typing)
        if typing:
            self.status.typed = "", ""
        self._open = False
        self._drawn: tuple[object, ...] = ()
        self._last_draw_s = 0.0
        self._loading_since_s = 0.0

    def show(self, event: Event) -> None:
        with self._lock:
            self.status.take(event)
            lines = self._lines(event)
            if lines or isinstance(event, (SpeechStarted, Partial, Final)):
                self._draw(lines)
            else:
                self.refresh()

    def refresh(self) -> None:
        """Redraw, at most eight times a second."""
        with self._lock:
            if self.console.get_time() - self._last_draw_s >= 1 / _REDRAWS_HZ:
                self._draw()

    def redraw(self) -> None:
        with self._lock:
            self._draw()

    def loading(self, name: str) -> None:
        self._loading_since_s = self.console.get_time()
        self.status.loading = printable(name)
        self.redraw()

    def progress(self, name: str, done_bytes: int, total_bytes: int) -> None:
        share = f"{done_bytes / total_bytes:.0%} of " if total_bytes else ""
        # Names are long: what moves comes first. What is done gives way to what comes after it.
        told = f"{share}{format_bytes(total_bytes)}  {printable(name)}"
        self.status.loading_detail = told if done_bytes < total_bytes else ""
        self.refresh()

    def listening(self) -> None:
        self.status.loading = self.status.loading_detail = ""
        self.redraw()

    @contextmanager
    def aside(self) -> Iterator[None]:
        with self._lock:
            if self._open:
                self._write(region.draw(()))
            try:
                yield
            finally:
                self._drawn = ()
                self._draw()

    def pause(self) -> None:
        with self._lock:
            if self._open:
                self._open = False
                self._write(region.end(typing=self.typing))

    def resume(self) -> None:
        with self._lock:
            self._open = True
            self._drawn = ()
            self._write(region.begin(typing=self.typing))
            self._draw()

    def _draw(self, above: list[tuple[str, str]] | None = None) -> None:
        now_s = self._last_draw_s = self.console.get_time()
        if self.status.loading:
            self.status.loading_s = now_s - self._loading_since_s
        if not self._open:
            for line, style in above or []:
                self._print(line, style)
            return
        rows = tuple(self._escaped(row) for row in panel(self.status, self.console))
        left = "".join(
            self._escaped(_dated(self._folded(line, style), style)) + "\n"
            for line, style in above or []
        )
        if left or (self.console.size, rows) != self._drawn:
            self._write(region.draw(rows, left))
            self._drawn = self.console.size, rows

    def _escaped(self, text: Text) -> str:
        with self.console.capture() as captured:
            self.console.print(text, end="", soft_wrap=True)
        return captured.get()

    def _write(self, text: str) -> None:
        """All of a drawing at once: nobody sees half of it, and what others write lies between."""
        encoding = self.console.encoding
        file = self.console.file
        file.write(text.encode(encoding, "replace").decode(encoding))
        file.flush()

    def __enter__(self) -> Self:
        self.resume()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.pause()


class WholeLines(io.TextIOBase):
    """Hands on whole lines while `view` makes way: what stands above a panel is never half a line.
    `close` gives the rest, and leaves `stream` open. With `folds` lines are broken between words.
    """

    def __init__(self, stream: TextIO, view: View, *, folds: bool = False) -> None:
        self._stream = stream
        self._view = view
        self._folds = folds
        self._rest = ""

    def write(self, text: str, /) -> int:
        whole, newline, self._rest = (self._rest + text).rpartition("\n")
        if newline:
            self._put(whole + newline)
        return len(text)

    def _put(self, text: str) -> None:
        with self._view.aside(), suppress(OSError):  # the window may have been closed
            self._stream.write(fitted(text, self._stream) if self._folds else text)
            self._stream.flush()

    def close(self) -> None:
        if not self.closed:
            if self._rest:
                self._put(self._rest + "\n")
            super().close()


@contextmanager
def beside(view: View) -> Iterator[None]:
    """Within, whatever is written to the terminal by way of sys.stdout and sys.stderr goes above
    the panel.
    """
    with ExitStack() as stack:
        for name, redirect in (("stdout", redirect_stdout), ("stderr", redirect_stderr)):
            stream = getattr(sys, name)
            if stream is not None and stream.isatty():
                folds = name == "stderr"
                lines = stack.enter_context(closing(WholeLines(stream, view, folds=folds)))
                stack.enter_context(redirect(lines))
        yield


def _dated(line: str, style: str) -> Text:
    """A line as it stays on the screen: the time of a final is told apart from its words."""
    if style:
        return Text(line, style)
    time, _, words = line.partition(" ")
    return Text.assemble((time, "dim"), " ", words)


def is_live(console: Console) -> bool:
    """Whether `console` is a screen that can be redrawn."""
    return console.is_interactive
