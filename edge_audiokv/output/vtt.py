"""WebVTT subtitles (W3C): a header, cues without numbers, markup escaped."""

from __future__ import annotations

from html import escape

from edge_audiokv.events import Event, Final
from edge_audiokv.output.base import Writer
from edge_audiokv.output.text import one_line
from edge_audiokv.units import format_clock


class VttWriter(Writer):
    def _head(self) -> str:
        return "WEBVTT\n\n"

    def _record(self, event: Event) -> str:
        if not isinstance(event, Final):
            return ""
        text = escape(one_line(event.text), quote=False)
        if not text:
            return ""
        return f"{format_clock(event.start_s)} --> {format_clock(event.end_s)}\n{text}\n\n"
