"""SubRip subtitles: numbered cues, times with a decimal comma."""

from __future__ import annotations

from edge_audiokv.events import Event, Final
from edge_audiokv.output.base import TextSink, Writer
from edge_audiokv.output.text import one_line
from edge_audiokv.units import format_clock


class SrtWriter(Writer):
    def __init__(self, sink: TextSink, *, name: str = "the output") -> None:
        super().__init__(sink, name=name)
        self._cues = 0

    def _record(self, event: Event) -> str:
        if not isinstance(event, Final):
            return ""
        # "-->" in speech would end the cue for some players.
        text = one_line(event.text).replace("-->", "->")
        if not text:
            return ""
        self._cues += 1
        start = format_clock(event.start_s, decimal=",")
        end = format_clock(event.end_s, decimal=",")
        return f"{self._cues}\n{start} --> {end}\n{text}\n\n"
