"""When what an answer tells was said, as people read it."""

from __future__ import annotations

from edge_audiokv.events import Answer
from edge_audiokv.units import format_clock


def clocks_of(answer: Answer) -> str:
    """What stands behind the text: ` (00:12:31, 01:40:02)`, or nothing if there is no source."""
    clocks = [format_clock(source.start_s)[:8] for source in answer.sources]
    return f" ({', '.join(clocks)})" if clocks else ""
