"""Plain text: a line for each segment, a question and its answer as two."""

from __future__ import annotations

from edge_audiokv.events import Answer, Event, Final
from edge_audiokv.output.answer import clocks_of
from edge_audiokv.output.base import TextSink, Writer
from edge_audiokv.units import format_clock


def one_line(text: str) -> str:
    """`text` without line breaks or doubled spaces."""
    return " ".join(text.split())


class TextWriter(Writer):
    """With `timestamps` each line opens with [start --> end]."""

    def __init__(
        self, sink: TextSink, *, name: str = "the output", timestamps: bool = False
    ) -> None:
        super().__init__(sink, name=name)
        self.timestamps = timestamps

    def _record(self, event: Event) -> str:
        if isinstance(event, Final):
            text = one_line(event.text)
            if not text:
                return ""
            if self.timestamps:
                clock = f"{format_clock(event.start_s)} --> {format_clock(event.end_s)}"
                return f"[{clock}] {text}\n"
            return f"{text}\n"
        if isinstance(event, Answer):
            return f"Q: {one_line(event.question)}\nA: {one_line(event.text)}{clocks_of(event)}\n"
        return ""
