"""JSON lines: one event a line, in the codec of edge_audiokv.events.

Segments and answers name the "file", if there are files, and "model", "quantisation" and "language"
beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from edge_audiokv.events import Answer, Event, Final, MemoryReport, Partial
from edge_audiokv.output.base import TextSink, Writer

# Many a second, and of no use once the next has come.
PASSING = (Partial, MemoryReport)


def line_of(event: Event, about: Mapping[str, str], facts: Mapping[str, str | None]) -> str:
    """`event` as a line without its end; `facts` belong to what the model wrote alone."""
    told = {**event.to_dict(), **about}
    if isinstance(event, (Final, Answer)):
        told |= facts
    return json.dumps(told, ensure_ascii=False)


class JsonlWriter(Writer):
    """Partial and MemoryReport events are written only with `everything`."""

    def __init__(
        self, sink: TextSink, *, name: str = "the output", everything: bool = False
    ) -> None:
        super().__init__(sink, name=name)
        self.everything = everything

    def _record(self, event: Event) -> str:
        if isinstance(event, PASSING) and not self.everything:
            return ""
        return line_of(event, self.about, self.facts) + "\n"
