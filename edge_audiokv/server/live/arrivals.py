"""When the sound of a live stream came in: how long after it is a text told?"""

from __future__ import annotations

import time
from collections import deque

# Half a minute of sound in pieces of a tenth of a second: longer than any segment lasts.
_KEPT = 320


class Arrivals:
    """Bounded; the newest are kept."""

    def __init__(self) -> None:
        self._came: deque[tuple[float, float]] = deque(maxlen=_KEPT)

    def note(self, clock_s: float, came_s: float) -> None:
        """The sound up to `clock_s` of the stream was there at `came_s` of `time.monotonic()`."""
        self._came.append((clock_s, came_s))

    def since_s(self, clock_s: float) -> float | None:
        """Seconds since the sound of `clock_s` was there; None if that is not known."""
        at = next((came_s for upto_s, came_s in self._came if upto_s >= clock_s), None)
        return None if at is None else max(0.0, time.monotonic() - at)
