"""How long after the end of speech final texts are told, counted as Prometheus counts."""

from __future__ import annotations

import threading
from bisect import bisect_left

BOUNDS_S = (0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
DOORS = ("realtime", "events", "wyoming")


class Latencies:
    """A histogram for each door; any thread may call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = {door: [0] * (len(BOUNDS_S) + 1) for door in DOORS}
        self._sums_s = dict.fromkeys(DOORS, 0.0)

    def observe(self, door: str, latency_s: float | None) -> None:
        """Count a final text that was told so long after the end of speech, if that is known."""
        if latency_s is None:
            return
        with self._lock:
            self._counts[door][bisect_left(BOUNDS_S, latency_s)] += 1
            self._sums_s[door] += latency_s

    def samples(self) -> list[tuple[str, float]]:
        """Names behind the metric's own, with their labels, and values; buckets add up."""
        found: list[tuple[str, float]] = []
        with self._lock:
            for door in DOORS:
                total = 0
                bounds = [*(f"{bound:g}" for bound in BOUNDS_S), "+Inf"]
                for bound, count in zip(bounds, self._counts[door], strict=True):
                    total += count
                    found.append((f'_bucket{{door="{door}",le="{bound}"}}', total))
                found.append((f'_sum{{door="{door}"}}', self._sums_s[door]))
                found.append((f'_count{{door="{door}"}}', total))
        return found
