"""The sound of a live session: all that came before somebody said stop, and nothing after it."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from edge_audiokv.audio.live.portaudio import InputDevice
from edge_audiokv.audio.source import AudioSource, Samples
from edge_audiokv.errors import DeviceError
from edge_audiokv.events import Warned
from edge_audiokv.server.events import source as module
from edge_audiokv.server.events.source import UntilTold, microphone
from edge_audiokv.server.live import arrivals


class Clock:
    def __init__(self) -> None:
        self.now_s = 50.0

    def monotonic(self) -> float:
        return self.now_s


class Line(AudioSource):
    """Gives what has been said by now; a read that has nothing to give waits a tenth of a second.
    Between `lost_s` nothing comes.
    """

    realtime = True
    name = "a line"

    def __init__(self, clock: Clock, lost_s: tuple[float, float] = (0.0, 0.0)) -> None:
        super().__init__()
        self.clock, self.began_s, self.lost_s = clock, clock.now_s, lost_s
        self.opened = self.closed = 0
        self.given = 0

    def open(self) -> None:
        self.opened += 1

    def _read(self, max_samples: int) -> Samples | None:
        said_s = self.clock.now_s - self.began_s
        first, last = self.lost_s
        said_s -= min(max(said_s - first, 0.0), last - first)
        due = round(said_s * 16_000) - self.given
        if due < 1:
            self.clock.now_s += 0.1
            return np.zeros(0, np.float32)
        count = min(due, max_samples)
        self.given += count
        return np.full(count, 0.1, np.float32)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def clock(monkeypatch) -> Clock:
    made = Clock()
    for place in (module, arrivals):
        monkeypatch.setattr(place, "time", made)
    return made


def heard(source: UntilTold) -> float:
    """Seconds until the end."""
    while source.read(1600) is not None:
        pass
    return source.clock_s


def test_what_waits_when_it_ends_is_given(clock) -> None:
    ended: list[bool] = []
    source = UntilTold(Line(clock), lambda: ended.append(True))
    with source:
        assert source.realtime and source.describe() == "a line"
        clock.now_s += 10.0  # the model was busy
        source.end()
        clock.now_s += 5.0  # and somebody spoke on
        source.end()
        assert heard(source) == pytest.approx(10.0, abs=0.01)
        assert ended == [True]


def test_after_a_gap_waiting_tells_that_it_was_all(clock) -> None:
    source = UntilTold(Line(clock, lost_s=(1.0, 9.0)), lambda: None)
    with source:
        while source.clock_s < 3.0:  # eleven seconds on the clock
            source.read(1600)
        source.end()
        assert heard(source) < 3.0 + 1.5


class TellingLine(Line):
    """One that says what waits, as a microphone does."""

    reads = 0

    @property
    def waiting_s(self) -> float:
        return round(self.clock.now_s - self.began_s - self.given / 16_000, 6)

    def _read(self, max_samples: int) -> Samples | None:
        self.reads += 1
        return super()._read(max_samples)


def test_nothing_is_waited_for_while_others_have_work_to_do(clock) -> None:
    line = TellingLine(clock)
    source = UntilTold(line, lambda: None)
    with source:
        assert not source.is_ready
        # A device that gives nothing is looked at now and then, which takes a tenth of a second.
        assert len(read(source)) == 0 and source.is_ready
        assert len(read(source)) == 1600 and not source.is_ready
        for _ in range(5):
            assert len(read(source)) == 0
        assert line.reads == 2
        clock.now_s += 2.0
        assert len(read(source)) == 1600
        # What was read came before what still waits.
        assert source.arrivals.since_s(0.2) == pytest.approx(1.9)
        clock.now_s += 1.0
        assert source.arrivals.since_s(0.2) == pytest.approx(2.9)
        while source.is_ready:
            read(source)
        source.end()
        assert source.is_ready


def read(source: UntilTold) -> Samples:
    samples = source.read(1600)
    assert samples is not None
    return samples


def test_a_source_that_cannot_tell_is_always_ready(clock) -> None:
    source = UntilTold(Line(clock), lambda: None)
    with source:
        assert source.is_ready and len(read(source)) == 0


def test_opening_twice_begins_once_and_news_pass(clock) -> None:
    line = Line(clock)
    source = UntilTold(line, lambda: None)
    source.open()
    clock.now_s += 2.0
    source.open()
    source.end()
    line._events.append(Warned(0.0, "loud"))
    assert source.take_events() == [Warned(0.0, "loud")]
    assert heard(source) == pytest.approx(2.0, abs=0.01)
    source.close()
    assert line.closed == 1


class System:
    """PortAudio with a device that was plugged in after it had started."""

    asked = 0

    def __init__(self) -> None:
        self.restarted = 0

    def restart(self) -> None:
        self.restarted += 1

    def inputs(self) -> list[InputDevice]:
        found = [InputDevice(0, "inside", "ALSA", 1, 16_000, is_default=True)]
        if self.restarted:
            found.append(InputDevice(1, "USB microphone", "ALSA", 1, 16_000))
        return found

    def start(self, device, channels, on_frames):
        raise DeviceError(f"{device.name} is in use.")


@pytest.mark.parametrize(
    ("device", "told"),
    [
        ("usb", "USB microphone is in use"),
        (None, "inside is in use"),
        ("1", "USB microphone is in use"),
        ("/etc/passwd", "No microphone is called '/etc/passwd'"),
        ("talk.flac", "No microphone is called"),
        ("-", "No microphone is called"),
    ],
)
def test_a_name_is_looked_for_among_the_devices_of_now(monkeypatch, device, told) -> None:
    # Imported first: a module keeps the name that it finds, and others would meet this one there.
    importlib.import_module("edge_audiokv.audio.live.microphone")
    monkeypatch.setattr("edge_audiokv.audio.live.portaudio.PortAudio", System)
    with pytest.raises(DeviceError, match=told):
        microphone(device).open()
