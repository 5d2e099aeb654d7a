"""Results on their way out: writers for text, JSON, JSON lines, SRT and VTT, and the live view."""

from edge_audiokv.output.base import Writer
from edge_audiokv.output.target import FORMATS, keep_apart, open_output

__all__ = ["FORMATS", "Writer", "keep_apart", "open_output"]
