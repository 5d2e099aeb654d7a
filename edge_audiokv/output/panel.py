"""What stands at the bottom of the terminal: state, level, memory, words as they come, input."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console
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
)
from edge_audiokv.units import format_bytes, format_clock, printable

# Wider rows read worse, and some terminals leave what a resize breaks in their history.
_MAX_WIDTH = 79
_METER_CELLS = 20
_LEAST_METER_CELLS = 5
_METER_FLOOR_DBFS = -60.0
_MEMORY_CELLS = 30
_LEAST_MEMORY_CELLS = 10
_PARTIAL_ROWS = 3
_PROMPT = "> "
_HINT = "type a question; Ctrl-C ends"
# Above it the bar turns red: the cap holds, but little is left.
_TIGHT_SHARE = 0.95


@dataclass
class Status:
    """What the panel shows. The owner sets it; nothing here grows."""

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
    loading: str = ""
    """What is loaded; empty once that is done."""
    loading_detail: str = ""
    loading_s: float = 0.0
    ending: bool = False
    typed: tuple[str, str] | None = None
    """The text before the cursor and from it on; None if nothing can be typed."""
    question: str = ""
    """What is being answered, and how far the answer is."""
    answer: str = ""
    note: str = ""

    def take(self, event: Event) -> None:
        """Let an event change what is shown."""
        match event:
            case SpeechStarted():
                self.speaking, self.partial, self.stable = True, "", ""
            case Partial():
                self.partial, self.stable = printable(event.text), printable(event.stable)
            case Final():
                self.speaking, self.partial, self.stable = False, "", ""
            case Answer():
                self.question, self.answer = "", ""
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


@dataclass(frozen=True)
class Glyphs:
    """What bars are made of."""

    on: str = "█"
    off: str = "·"
    busy: str = "●"
    idle: str = "○"
    more: str = "…"


_PLAIN_GLYPHS = Glyphs("#", ".", "*", "-", "~")


def panel(status: Status, console: Console) -> list[Text]:
    """Rows for `console`, the most important ones if it is low; the last column stays free.

    The first is empty where there is room, the last is the input.
    """
    width, height = min(max(console.width - 1, 1), _MAX_WIDTH), max(console.height - 1, 1)
    glyphs = _PLAIN_GLYPHS if console.options.ascii_only else Glyphs()
    # (row, how much it matters: what matters least goes first)
    rows = [(Text(), 1), (_head(status, width, glyphs), 8)]
    if status.memory is not None:
        rows.append((_memory(status.memory, width, glyphs), 3))
    # One row at least: the input does not hop with every word.
    partial = list(_partial(status, width, console)) or [Text()]
    rows += [(row, 4 + at) for at, row in enumerate(partial)]
    if status.question:
        rows.append((_cut(Text(f"Q: {status.question}"), width, glyphs), 4))
        growing = Text(f"A: {status.answer}" if status.answer else "A:")
        rows += [(row, 5) for row in _wrapped(growing, width, console)[-2:]]
    if status.note:
        rows.append((_cut(Text(status.note, "yellow"), width, glyphs), 2))
    if status.typed is not None:
        rows.append((_input(*status.typed, width, glyphs), 9))
    while len(rows) > height:
        rows.remove(min(rows, key=lambda row: row[1]))
    return [row for row, _ in rows]


def level_meter(level_dbfs: float, cells: int = _METER_CELLS, glyphs: Glyphs | None = None) -> Text:
    """A bar from -60 to 0 dBFS."""
    share = (level_dbfs - _METER_FLOOR_DBFS) / -_METER_FLOOR_DBFS
    colour = "red" if level_dbfs > -3 else "yellow" if level_dbfs > -12 else "green"
    return _bar(share, cells, colour, glyphs or Glyphs())


def _bar(share: float, cells: int, colour: str, glyphs: Glyphs) -> Text:
    on = round(cells * min(1.0, max(0.0, share)))
    return Text.assemble((glyphs.on * on, colour), (glyphs.off * (cells - on), "dim"))


def _head(status: Status, width: int, glyphs: Glyphs) -> Text:
    """State, clock, meter, and what else there is room for."""
    if status.loading:
        return _loading(status, width, glyphs)
    mark = (f"{glyphs.busy if status.speaking else glyphs.idle} ", "bold green")
    state = "ending" if status.ending else "answering" if status.question else "listening"
    if status.device_lost:
        mark, state = (f"{glyphs.idle} ", "bold red"), "no microphone"
    row = Text.assemble(mark, f"{state} {format_clock(status.clock_s)[:8]} ")
    level = f" {max(status.level_dbfs, -120.0):.0f} dB"
    room = width - row.cell_len - len(level)
    if room < _LEAST_METER_CELLS:
        return _cut(row, width, glyphs)
    row.append_text(level_meter(status.level_dbfs, min(room, _METER_CELLS), glyphs))
    row.append(level)
    more = []
    if status.dropped_samples:
        more.append((f"  {status.dropped_samples} samples dropped", "red"))
    if status.realtime_factor is not None:
        more.append((f"  realtime factor {status.realtime_factor:.2f}", "dim"))
    for text, style in more:
        if row.cell_len + len(text) <= width:
            row.append(text, style)
    return row


def _loading(status: Status, width: int, glyphs: Glyphs) -> Text:
    detail = f"  {status.loading_detail}" if status.loading_detail else ""
    row = Text.assemble(
        (f"{glyphs.idle} ", "bold yellow"),
        f"loading {status.loading}",
        (f"  {status.loading_s:.0f} s", "dim"),
        detail,
    )
    # Sound is kept already: whoever speaks sees that.
    meter = Text("  ") + level_meter(status.level_dbfs, _METER_CELLS // 2, glyphs)
    if status.level_dbfs > -120 and row.cell_len + meter.cell_len <= width:
        row.append_text(meter)
    return _cut(row, width, glyphs)


def _memory(report: MemoryReport, width: int, glyphs: Glyphs) -> Text:
    """The cap as a bar, filled as far as the kernel's own figure."""
    share = report.rss_bytes / max(report.cap_bytes, 1)
    name = "memory "
    used, cap = format_bytes(report.rss_bytes), format_bytes(report.cap_bytes)
    # As much as leaves room for a bar.
    for figures in (f" {used} of {cap} ({share:.0%})", f" {used} ({share:.0%})", f" {share:.0%}"):
        cells = min(_MEMORY_CELLS, width - len(name) - len(figures))
        if cells >= _LEAST_MEMORY_CELLS:
            break
    else:
        return _cut(Text(name + figures.strip()), width, glyphs)
    bar = _bar(share, cells, "red" if share > _TIGHT_SHARE else "cyan", glyphs)
    return Text.assemble(name, bar, figures)


def _partial(status: Status, width: int, console: Console) -> Iterator[Text]:
    """The newest rows of the words so far."""
    if status.partial:
        words = Text(status.stable)
        words.append(status.partial.removeprefix(status.stable), style="dim italic")
        yield from _wrapped(words, width, console)[-_PARTIAL_ROWS:]


def _wrapped(text: Text, width: int, console: Console) -> list[Text]:
    return list(text.wrap(console, width, overflow="fold"))


def _cut(row: Text, width: int, glyphs: Glyphs) -> Text:
    if row.cell_len > width:
        row = row[: len(_head_of(row.plain, width - 1))]
        row.append(glyphs.more)
    return row


def _input(before: str, after: str, width: int, glyphs: Glyphs) -> Text:
    """What is typed, as much as fits around the cursor."""
    row = Text.assemble((_PROMPT, "bold"))
    if not before and not after:
        row.append(" ", "reverse")
        if row.cell_len + len(_HINT) < width:
            row.append(f" {_HINT}", "dim")
        return row
    marks = 1
    while marks < len(after) and cell_len(after[marks]) == 0:
        marks += 1
    at, after = after[:marks] or " ", after[marks:]
    room = max(width - row.cell_len - cell_len(at), 0)
    if cell_len(before) + cell_len(after) > room:
        left = min(cell_len(before), max(2 * room // 3, room - cell_len(after)))
        if cell_len(before) > left:
            before = glyphs.more + _tail_of(before, left - 1)
        right = room - cell_len(before)
        if cell_len(after) > right:
            after = _head_of(after, right - 1) + glyphs.more if right > 0 else ""
    row.append(before)
    row.append(at, "reverse")
    row.append(after)
    return row


def _head_of(text: str, cells: int) -> str:
    """The first characters that take at most `cells`."""
    used = 0
    for at, char in enumerate(text):
        used += cell_len(char)
        if used > cells:
            return text[:at]
    return text


def _tail_of(text: str, cells: int) -> str:
    """The last characters that take at most `cells`."""
    used = 0
    for at in range(len(text) - 1, -1, -1):
        used += cell_len(text[at])
        if used > cells:
            return text[at + 1 :]
    return text
