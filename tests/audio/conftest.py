"""Sounds to test with: the spoken clips of tests/data, and a clock that never waits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edge_audiokv.audio.files.file import read_all
from edge_audiokv.audio.source import Samples

DATA = Path(__file__).parents[1] / "data"


class ManualClock:
    """Time moves only when somebody sleeps or a test says so."""

    def __init__(self) -> None:
        self.time_s = 100.0
        self.slept_s: list[float] = []

    def now(self) -> float:
        return self.time_s

    def sleep(self, duration_s: float) -> None:
        self.slept_s.append(duration_s)
        self.time_s += duration_s


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="session")
def clips() -> dict[str, Path]:
    rows = [json.loads(line) for line in (DATA / "manifest.jsonl").read_text().splitlines()]
    return {row["id"]: DATA / row["path"] for row in rows}


@pytest.fixture(scope="session")
def speech(clips: dict[str, Path]) -> Samples:
    """One spoken sentence, about 4 s, 16 kHz mono float32."""
    return read_all(clips["harbour"])


def tone(rate_hz: int, duration_s: float, frequency_hz: float = 440.0) -> Samples:
    time_s = np.arange(int(rate_hz * duration_s)) / rate_hz
    return (0.3 * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32)


@pytest.fixture(name="tone")
def tone_fixture():
    return tone
