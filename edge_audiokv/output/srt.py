"""SubRip subtitles: numbered cues, times with a decimal comma."""

from __future__ import annotations

from edge_audiokv.output.cues import Cue
from edge_audiokv.output.subtitles import SubtitleWriter
from edge_audiokv.units import format_clock


class SrtWriter(SubtitleWriter):
    def _cue(self, number: int, cue: Cue) -> str:
        start = format_clock(cue.start_ms / 1000, decimal=",")
        end = format_clock(cue.end_ms / 1000, decimal=",")
        # "-->" in speech would end the cue for some players.
        text = "\n".join(cue.lines).replace("-->", "->")
        return f"{number}\n{start} --> {end}\n{text}\n\n"
