"""Results on their way out: writers for text, JSON, JSON lines, SRT and VTT, and the live view."""

from edge_audiokv.output.base import Writer
from edge_audiokv.output.cues import CueRules
from edge_audiokv.output.target import FORMATS, SUBTITLES, keep_apart, open_output

__all__ = ["FORMATS", "SUBTITLES", "CueRules", "Writer", "keep_apart", "open_output"]
