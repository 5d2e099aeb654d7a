"""Latency on a simulated clock: what a session is told, and when; the session is a script."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest

from edge_audiokv.audio.endpoint import EndpointConfig
from edge_audiokv.eval.latency import measure_latency
from edge_audiokv.events import Event, Final, Partial
from edge_audiokv.kv.shape import FloatArray

pytestmark = pytest.mark.alone


class Listener:
    """Works `work_s` on every block, and ends a segment with every 20th (2 s)."""

    def __init__(self, work_s: float, *, heard_s: float = 0.0) -> None:
        self.settings = SimpleNamespace(endpoint=EndpointConfig())
        self.on_event: Callable[[Event], None] = lambda event: None
        self.work_s, self.clock_s, self.now_s, self.blocks = work_s, heard_s, 50.0, 0

    def feed(self, block: FloatArray) -> list[Event]:
        self.now_s += self.work_s
        self.clock_s += len(block) / 16000
        self.blocks += 1
        if self.blocks % 20 == 10:
            self.on_event(Partial(0, self.clock_s - 1, self.clock_s, "half", ""))
        if self.blocks % 20 == 0:
            # It ended half a second ago; 0.2 s of silence are part of the segment.
            self.on_event(Final(0, 0.0, self.clock_s - 0.5, "all", ()))
        return []


@pytest.mark.parametrize("heard_s", [0.0, 600.0])
@pytest.mark.parametrize("work_s", [0.01, 0.08])
def test_a_fast_session_is_late_by_its_silence_and_the_work(work_s: float, heard_s: float) -> None:
    listener = Listener(work_s, heard_s=heard_s)
    clips = [np.zeros(12800, np.float32)] * 3  # 0.8 s, and 1.2 s between
    report = measure_latency(listener, clips, now=lambda: listener.now_s)  # type: ignore[arg-type]
    assert (len(report.latencies_s), report.partials) == (3, 3)
    assert report.latencies_s == pytest.approx([0.5 + 0.2 + work_s] * 3)
    assert report.texts == ["all"] * 3
    assert report.realtime_factor == pytest.approx(10 * work_s)
    assert report.longest_queue_s == pytest.approx(0.0, abs=1e-9)


def test_a_slow_session_shows_its_queue() -> None:
    listener = Listener(0.15)
    clips = [np.zeros(12800, np.float32)] * 3
    report = measure_latency(listener, clips, now=lambda: listener.now_s)  # type: ignore[arg-type]
    assert report.longest_queue_s == pytest.approx(59 * 0.05)
    assert report.latencies_s[2] > report.latencies_s[0]
