"""JSON lines: one event a line, in the codec of edge_audiokv.events.

Segments and answers name the "file", if there are files, and "model", "quantisation" and "language"
beside it.
"""

from __future__ import annotations

import json

from edge_audiokv.events import Answer, Event, Final, MemoryReport, Partial
from edge_audiokv.output.base import TextSink, Writer

# Many a second, and of no use once the next has come.
_PASSING = (Partial, MemoryReport)


class JsonlWriter(Writer):
    """Partial and MemoryReport events are written only with `everything`."""

    def __init__(
        self, sink: TextSink, *, name: str = "the output", everything: bool = False
    ) -> None:
        super().__init__(sink, name=name)
        self.everything = everything

    def _record(self, event: Event) -> str:
        if isinstance(event, _PASSING) and not self.everything:
            return ""
        told = {**event.to_dict(), **self.about}
        if isinstance(event, (Final, Answer)):
            told |= self.facts
        return json.dumps(told, ensure_ascii=False) + "\n"
