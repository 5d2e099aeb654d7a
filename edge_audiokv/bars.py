"""Bars on a terminal, a row each: where there is no room a name is cut, and never a figure."""

from __future__ import annotations

from rich.console import Console, ConsoleOptions, RenderResult
from rich.control import Control
from rich.live import Live
from rich.live_render import LiveRender
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.segment import ControlType, Segment
from rich.table import Column
from rich.text import Text

FIGURE = Column(no_wrap=True)
"""For columns of figures: they keep their width."""

# Begun a row lower: what is erased from a screen's first place on, tmux keeps in its history.
ERASE_BELOW = "\r\x1b[K\n\x1b[J\x1b[A"
"""Erases all from the cursor's row on."""

CUT_ROWS, WRAP_ROWS = "\x1b[?7l", "\x1b[?7h"
"""In between, a row that is wider than the terminal has just become does not take two."""

_BAR_CELLS = 10
# Where there are fewer columns figures come before the bar.
_LEAST_COLUMNS_FOR_BARS = 60


def bar_columns(console: Console, *figures: ProgressColumn) -> list[ProgressColumn]:
    """A description that is shown as it is, a bar if there is room, and `figures`."""
    bar = BarColumn(bar_width=_BAR_CELLS, table_column=FIGURE)
    return [Cut("{task.description}"), *([bar] if has_room(console) else []), *figures]


def has_room(console: Console) -> bool:
    """Is there room for more than the figures that matter most?"""
    return console.width >= _LEAST_COLUMNS_FOR_BARS


class Cut(TextColumn):
    """Text without markup that is cut with an ellipsis where others need the room."""

    def __init__(self, text_format: str, *, style: str = "none") -> None:
        super().__init__(text_format, style=style, markup=False, table_column=Column())

    def render(self, task: Task) -> Text:
        text = super().render(task)
        text.no_wrap, text.overflow = True, "ellipsis"
        return text


class Bars(Progress):
    """Bars that are gone when they are done, also from a terminal that was resized meanwhile."""

    def __init__(self, *columns: ProgressColumn, console: Console) -> None:
        super().__init__(
            *columns,
            console=console,
            transient=True,
            disable=not console.is_interactive,
            # A result on the same screen is no part of the bars.
            redirect_stdout=False,
        )
        steady(self.live)


def steady(live: Live) -> None:
    """Let the cursor wait where `live`, which must be transient, begins.

    Terminals that break lines anew when they are resized take it along with that row; at the end,
    where it would be, they may have made two rows of one, and the first would stay for good.
    """
    live._live_render = _FromItsFirstRow(live.get_renderable())


class _FromItsFirstRow(LiveRender):
    def position_cursor(self) -> Control:
        return _control(ERASE_BELOW) if self._shape is not None else Control()

    def restore_cursor(self) -> Control:
        """Called a row below."""
        return _control(f"\x1b[A{ERASE_BELOW}") if self._shape is not None else Control()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield _control(CUT_ROWS)
        yield from super().__rich_console__(console, options)
        n_rows = self._shape[1] if self._shape is not None else 0
        up = f"\x1b[{n_rows - 1}A" if n_rows > 1 else ""
        yield _control(f"{WRAP_ROWS}{up}\r")


def _control(codes: str) -> Control:
    control = Control()
    # Of no width: what kind it is said to be has no meaning beyond that.
    control.segment = Segment(codes, None, [(ControlType.CARRIAGE_RETURN,)])
    return control
