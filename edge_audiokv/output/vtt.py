"""WebVTT subtitles (W3C): a header, cues without numbers, markup escaped."""

from __future__ import annotations

from html import escape

from edge_audiokv.output.cues import Cue
from edge_audiokv.output.subtitles import SubtitleWriter
from edge_audiokv.units import format_clock


class VttWriter(SubtitleWriter):
    def _head(self) -> str:
        return "WEBVTT\n\n"

    def _cue(self, number: int, cue: Cue) -> str:
        text = escape("\n".join(cue.lines), quote=False)
        start, end = format_clock(cue.start_ms / 1000), format_clock(cue.end_ms / 1000)
        return f"{start} --> {end}\n{text}\n\n"
