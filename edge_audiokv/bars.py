"""Bars on a terminal, a row each: where there is no room a name is cut, and never a figure."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn
from rich.table import Column
from rich.text import Text

FIGURE = Column(no_wrap=True)
"""For columns of figures: they keep their width."""

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
