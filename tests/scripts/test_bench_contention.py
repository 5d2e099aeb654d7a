"""The benchmark of contention, on a clock and a listener made by hand."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest

pytestmark = pytest.mark.alone

_spec = importlib.util.spec_from_file_location(
    "bench_contention", Path(__file__).parents[2] / "scripts" / "bench_contention.py"
)
assert _spec is not None and _spec.loader is not None
bench = sys.modules["bench_contention"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(bench)

SOUNDS = [np.zeros(16000, np.float32)] * 3


class Listener:
    """Every sound costs a second more than the one before, and `slowdown` times that when busy."""

    def __init__(self, slowdown: float) -> None:
        self.slowdown, self.busy, self.now_s, self.n_heard = slowdown, False, 0.0, 0

    def feed(self, sound: np.ndarray) -> None:
        self.n_heard += 1
        self.now_s += self.n_heard * (self.slowdown if self.busy else 1.0)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        self.busy = True
        yield
        self.busy = False


@pytest.mark.parametrize("slowdown", [1.0, 2.5])
def test_a_cost_that_grows_with_the_memory_is_not_taken_for_contention(slowdown: float) -> None:
    listener = Listener(slowdown)
    alone, busy = bench.alternate(
        listener.feed, SOUNDS, listener.at_work, now=lambda: listener.now_s
    )
    assert busy.wall_s / alone.wall_s == pytest.approx(slowdown)
    assert alone.heard_s == busy.heard_s == 2 * len(SOUNDS)


def reaches(process: psutil.Process, status: str) -> bool:
    """Signals are delivered in their own time."""
    deadline_s = time.monotonic() + 10
    while process.status() != status and time.monotonic() < deadline_s:
        time.sleep(0.01)
    return process.status() == status


def test_the_competitor_computes_only_while_it_is_at_work() -> None:
    with bench.Competitor(1) as competitor:
        (process,) = (psutil.Process(one.pid) for one in competitor._processes)
        assert reaches(process, psutil.STATUS_STOPPED)
        with competitor.at_work():
            assert reaches(process, psutil.STATUS_RUNNING)
        assert reaches(process, psutil.STATUS_STOPPED)
    assert not process.is_running()
