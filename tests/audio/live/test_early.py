"""Sound that comes before it is asked for."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from edge_audiokv.audio.live.early import Early
from edge_audiokv.audio.source import AudioSource, Samples
from edge_audiokv.errors import InputError


class Speaker(AudioSource):
    """Gives `blocks` as fast as it is read, then `end`; counts what was taken."""

    def __init__(self, blocks: list[Samples], end: InputError | None = None, live=True) -> None:
        super().__init__()
        self.blocks, self.end, self.live = list(blocks), end, live
        self.taken = 0
        self.opened = self.closed = 0
        self.readers: set[int] = set()
        self.empty = threading.Event()

    def open(self) -> None:
        self.opened += 1
        self.realtime = self.live

    def _read(self, max_samples: int) -> Samples | None:
        self.readers.add(threading.get_ident())
        if self.blocks:
            self.taken += 1
            return self.blocks.pop(0)
        self.empty.set()
        if self.end is not None:
            raise self.end
        return None

    def close(self) -> None:
        self.closed += 1


def blocks(count: int) -> list[Samples]:
    return [np.full(1600, at, np.float32) for at in range(count)]


def read_all(source: Early) -> Samples:
    pieces = []
    while (samples := source.read(700)) is not None:
        assert len(samples) <= 1600
        pieces.append(samples)
    return np.concatenate(pieces)


def test_what_came_early_is_given_first_and_nothing_is_lost() -> None:
    inner = Speaker(blocks(30))
    with Early(inner, max_s=1.0) as early:
        early.open()
        deadline = time.monotonic() + 10
        while inner.taken < 10 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        # A second and no more: the rest stays in the pipe.
        assert inner.taken == 10 and early.nbytes == 10 * 1600 * 4
        heard = read_all(early)
        assert early.read() is None
        assert early.nbytes == 0
    assert np.array_equal(heard, np.concatenate(blocks(30)))
    assert inner.opened == 1 and inner.closed == 1


def test_what_waits_is_what_is_kept_and_what_the_source_has() -> None:
    class Telling(Speaker):
        waiting_s = 0.25

    assert Early(Speaker([])).waiting_s is None
    inner = Telling(blocks(30))
    with Early(inner, max_s=0.3) as early:
        deadline = time.monotonic() + 10
        while early.nbytes < 3 * 1600 * 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert early.waiting_s == pytest.approx(0.55)
        early.read(1600)
        assert early.waiting_s == pytest.approx(0.45)


def test_an_early_failure_is_raised_in_its_place() -> None:
    inner = Speaker(blocks(3), InputError("gone"))
    with Early(inner) as early:
        assert inner.empty.wait(10)
        assert sum(len(early.read(1600)) for _ in range(3)) == 4800
        with pytest.raises(InputError, match="gone"):
            early.read()


def test_a_file_waits_for_its_reader() -> None:
    inner = Speaker(blocks(3), live=False)
    with Early(inner) as early:
        time.sleep(0.02)
        assert inner.taken == 0 and not early.realtime
        assert len(read_all(early)) == 4800
        assert inner.readers == {threading.get_ident()}


def test_what_was_never_asked_for_is_let_go() -> None:
    inner = Speaker(blocks(3))
    early = Early(inner)
    early.open()
    assert inner.empty.wait(10)
    early.close()
    assert early.nbytes == 0 and inner.closed == 1


def test_it_is_called_what_its_source_is() -> None:
    """An archive names what was heard by it."""
    speaker = Speaker([])
    speaker.name = "USB microphone"
    assert Early(speaker).describe() == "USB microphone"
