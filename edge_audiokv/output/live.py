"""What a person sees while the machine listens: level, words as they come, where the bytes are.

On a terminal a few lines at the bottom are redrawn and finals scroll above them; elsewhere each
thing worth knowing is one plain line. Neither prints results to standard output unless the view
was given a console on it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from edge_audiokv.events import (
    Answer,
    DeviceLost,
    DeviceRestored,
    Event,
    Final,
    MemoryReport,
    Overflow,
    Partial,
    SpeechStarted,
    Stalled,
    Warned,
)
from edge_audiokv.output.text import one_line
from edge_audiokv.units import format_bytes, format_clock, printable

_REDRAWS_HZ = 8
_METER_CELLS = 20
_METER_FLOOR_DBFS = -60.0
_MEMORY_CELLS = 40
_COLOURS = ("cyan", "magenta", "blue", "yellow", "green", "red")


@dataclass
class Status:
    """The numbers in the view. The owner sets them; nothing here grows."""

    level_dbfs: float = -120.0
    clock_s: float = 0.0
    realtime_factor: float | None = None
    dropped_samples: int = 0
    speaking: bool = False
    partial: str = ""
    stable: str = ""
    memory: MemoryReport | None = None
    device: str = ""
    device_lost: bool = False

    def take(self, event: Event) -> None:
        """Let an event change what is shown."""
        match event:
            case SpeechStarted():
                self.speaking, self.partial, self.stable = True, "", ""
            case Partial():
                self.partial, self.stable = one_line(event.text), one_line(event.stable)
            case Final():
                self.speaking, self.partial, self.stable = False, "", ""
            case MemoryReport():
                self.memory = event
            case Overflow():
                self.dropped_samples += event.dropped_samples
            case DeviceLost():
                self.device, self.device_lost = event.device, True
            case DeviceRestored():
                self.device, self.device_lost = event.device, False
            case _:
                pass


def notice(event: Event) -> str:
    """One line about an event that a person should see; empty for the others."""
    match event:
        case Final():
            return one_line(event.text)
        case Answer():
            return f"Q: {one_line(event.question)}  A: {one_line(event.text)}"
        case Warned():
            return f"warning: {printable(event.message)}"
        case DeviceLost():
            return f"microphone lost: {event.device}; waiting for it"
        case DeviceRestored():
            return f"microphone is back: {event.device}"
        case Overflow():
            return f"warning: {event.dropped_samples} samples dropped; the machine is too slow"
        case Stalled():
            return f"warning: no progress for {event.waited_s:.1f} s"
        case _:
            return ""


def level_meter(level_dbfs: float) -> Text:
    """A bar from -60 to 0 dBFS."""
    share = (level_dbfs - _METER_FLOOR_DBFS) / -_METER_FLOOR_DBFS
    cells = round(_METER_CELLS * min(1.0, max(0.0, share)))
    colour = "red" if level_dbfs > -3 else "yellow" if level_dbfs > -12 else "green"
    bar = Text("█" * cells, style=colour)
    bar.append("·" * (_METER_CELLS - cells), style="dim")
    return bar


def memory_bar(report: MemoryReport) -> Text:
    """The cap as one bar, a colour for each part, what is free in dots; then the legend."""
    cap_bytes = max(report.cap_bytes, 1)
    bar, legend, used_cells = Text(), Text(), 0
    largest_first = sorted(report.parts.items(), key=lambda part: -part[1])
    for index, (name, part_bytes) in enumerate(largest_first):
        colour = _COLOURS[index % len(_COLOURS)]
        cells = min(round(_MEMORY_CELLS * part_bytes / cap_bytes), _MEMORY_CELLS - used_cells)
        used_cells += cells
        bar.append("█" * cells, style=colour)
        legend.append(f" {name} ", style=colour)
        legend.append(format_bytes(part_bytes))
    bar.append("·" * (_MEMORY_CELLS - used_cells), style="dim")
    bar.append(f" {format_bytes(report.rss_bytes)} of {format_bytes(report.cap_bytes)}")
    return bar.append("\n").append(legend)


def render(status: Status) -> RenderableType:
    """The lines at the bottom of the terminal."""
    head = Text()
    if status.device_lost:
        head.append("no microphone ", style="bold red")
    else:
        head.append("● " if status.speaking else "○ ", style="bold green")
    head.append_text(level_meter(status.level_dbfs))
    head.append(f" {status.level_dbfs:5.0f} dB  {format_clock(status.clock_s)[:8]}")
    if status.realtime_factor is not None:
        head.append(f"  {status.realtime_factor:.2f} x real time")
    if status.dropped_samples:
        head.append(f"  {status.dropped_samples} samples dropped", style="red")
    lines: list[RenderableType] = [head]
    if status.memory is not None:
        lines.append(memory_bar(status.memory))
    if status.partial:
        words = Text(status.stable, style="grey70")
        words.append(status.partial.removeprefix(status.stable), style="grey50 italic")
        lines.append(words)
    return Group(*lines)


class View(Protocol):
    """What `listen` talks to, terminal or not."""

    status: Status

    def show(self, event: Event) -> None: ...

    def refresh(self) -> None:
        """The owner has changed `status`."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


@dataclass
class PlainView:
    """One line an event, for logs and pipes. `finals` says whether finals are printed too."""

    console: Console
    finals: bool = False
    status: Status = field(default_factory=Status)

    def show(self, event: Event) -> None:
        self.status.take(event)
        if isinstance(event, (Final, Answer)) and not self.finals:
            return
        line = notice(event)
        if line:
            self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def refresh(self) -> None:
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
    """The same, with the redrawn lines at the bottom. It takes itself away when it ends."""

    def __init__(self, console: Console, *, finals: bool = True) -> None:
        super().__init__(console, finals)
        # Our own refreshes, no thread of rich's: output stays in the owner's order.
        self._live = Live(
            render(self.status),
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._last_draw_s = 0.0

    def show(self, event: Event) -> None:
        super().show(event)
        if isinstance(event, (SpeechStarted, Partial, Final, DeviceLost, DeviceRestored)):
            self._draw()
        else:
            self.refresh()

    def refresh(self) -> None:
        """Redraw, at most eight times a second."""
        now_s = self.console.get_time()
        if now_s - self._last_draw_s >= 1 / _REDRAWS_HZ:
            self._last_draw_s = now_s
            self._draw()

    def _draw(self) -> None:
        self._live.update(render(self.status), refresh=True)

    def __enter__(self) -> Self:
        self._live.start(refresh=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()


def make_view(console: Console, *, finals: bool) -> View:
    """A LiveView on a terminal, a PlainView elsewhere."""
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveView(console, finals=finals)
    return PlainView(console, finals)
