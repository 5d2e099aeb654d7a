"""A microphone on a sound system made for the test: losses, returns, odd rates, slow readers.

The same class runs on real PortAudio in test_virtual_microphone.py.
"""

from __future__ import annotations

import numpy as np
import pytest

from edge_audiokv.audio.live.microphone import MicrophoneSource
from edge_audiokv.audio.live.portaudio import InputDevice
from edge_audiokv.errors import DeviceError
from edge_audiokv.events import DeviceLost, DeviceRestored, Overflow, Warned

USB = InputDevice(3, "USB mic", "ALSA", 1, 48_000, is_default=True)
ARRAY = InputDevice(4, "Mic array", "ALSA", 8, 16_000)


class Stream:
    def __init__(self, on_frames, channels):
        self.on_frames, self.channels = on_frames, channels
        self.active, self.closed = True, 0

    def close(self):
        self.active = False
        self.closed += 1


class System:
    """Devices that a test plugs and unplugs; the list is frozen until restart(), as PortAudio's."""

    def __init__(self, *devices, refuses=()):
        self.plugged = list(devices)
        self.listed = list(devices)
        self.refuses = refuses
        self.streams = []
        self.restarts = 0

    def inputs(self):
        return list(self.listed)

    def start(self, device, channels, on_frames):
        if device not in self.plugged or channels in self.refuses:
            raise DeviceError(f"{device.name} cannot be opened.")
        self.streams.append(Stream(on_frames, channels))
        return self.streams[-1]

    def restart(self):
        self.restarts += 1
        self.listed = list(self.plugged)


@pytest.fixture
def system():
    return System(USB, ARRAY)


def microphone(system, clock, **options):
    return MicrophoneSource(system=system, clock=clock, **options)


def say(system, sound, lost_before=False):
    """The callback, as PortAudio calls it: blocks of 20 ms in a buffer that it reuses."""
    stream = system.streams[-1]
    block = np.empty((960, stream.channels), np.float32)
    for first in range(0, len(sound), 960):
        piece = sound[first : first + 960, None]
        block[: len(piece)] = piece
        stream.on_frames(block[: len(piece)], lost_before)
        block[:] = np.nan


def test_a_48_khz_only_device_gives_16_khz(system, clock, tone):
    with microphone(system, clock) as source:
        assert source.name == "USB mic" and source.realtime
        say(system, tone(48_000, 2.0))
        pieces = [source.read(4_000) for _ in range(10)]
    heard = np.concatenate(pieces)
    assert 31_000 < len(heard) <= 32_000
    assert np.abs(heard[2_000:30_000] - tone(16_000, 2.0)[2_000:30_000]).max() < 2e-3
    assert source.clock_s == len(heard) / 16_000
    assert system.streams[-1].closed == 1


def test_it_tells_how_much_waits(system, clock):
    source = microphone(system, clock)
    assert source.waiting_s == 0
    with source:
        say(system, np.zeros(9_600, np.float32))
        assert source.waiting_s == pytest.approx(0.2)
        source.read(1_600)
        assert source.waiting_s == pytest.approx(0.1, abs=0.01)


def test_an_empty_read_waits_and_is_no_end(system, clock):
    with microphone(system, clock, wait_s=0.1) as source:
        begin_s = clock.now()
        assert len(source.read()) == 0
        assert clock.now() - begin_s == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize(("refuses", "channels"), [((), 2), ((2,), 8), ((2, 8), 1)])
def test_channels_are_stereo_or_what_the_device_takes(clock, refuses, channels):
    system = System(ARRAY, refuses=refuses)
    with microphone(system, clock):
        assert system.streams[-1].channels == channels


def test_a_device_that_takes_nothing_is_an_error(clock):
    with pytest.raises(DeviceError, match="cannot be opened"):
        microphone(System(ARRAY, refuses=(1, 2, 8)), clock).open()


def test_a_slow_reader_loses_the_newest_and_is_told(system, clock):
    with microphone(system, clock, ring_s=1.0) as source:
        say(system, np.zeros(48_000 + 9_600, np.float32))
        source.read()
        say(system, np.zeros(48_000, np.float32))
        source.read()
        events = [event for event in source.take_events() if isinstance(event, Overflow)]
    assert events[0].dropped_samples == 3_200
    assert len(events) == 2


def test_losses_of_the_system_are_told_once(system, clock):
    with microphone(system, clock) as source:
        for _ in range(3):
            say(system, np.zeros(960, np.float32), lost_before=True)
            source.read()
        warnings = [event for event in source.take_events() if isinstance(event, Warned)]
    assert len(warnings) == 1 and "lost input" in warnings[0].message


def wait(source, seconds):
    """Read for a while; all events."""
    events = []
    for _ in range(int(seconds / 0.1)):
        source.read()
        events += source.take_events()
    return events


@pytest.mark.parametrize("ends", ["stream stops", "frames stop"])
def test_unplugged_and_plugged_in_again(system, clock, tone, ends):
    with microphone(system, clock) as source:
        say(system, tone(48_000, 1.0))
        assert wait(source, 1.0) == []
        system.plugged.remove(USB)
        if ends == "stream stops":
            system.streams[-1].active = False
        lost = wait(source, 30.0)
        assert lost == [DeviceLost(lost[0].time_s, "USB mic")]
        assert system.streams[0].closed == 1

        # It returns under another number; the list shows it only after a restart.
        back = InputDevice(9, "USB mic", "ALSA", 1, 16_000, is_default=True)
        system.plugged.append(back)
        while len(system.streams) == 1:
            assert wait(source, 0.2) == []  # opened is not heard
        say(system, tone(16_000, 1.0))
        restored = wait(source, 1.0)
        assert restored == [DeviceRestored(restored[0].time_s, "USB mic")]
        assert source.device == back


def test_tries_are_few_while_it_is_gone(system, clock):
    with microphone(system, clock) as source:
        say(system, np.zeros(960, np.float32))
        source.read()
        system.plugged.clear()
        system.streams[-1].active = False
        wait(source, 600.0)
    assert 120 <= system.restarts <= 140  # about every 5 s


def test_a_default_that_went_is_replaced_by_the_new_default(system, clock):
    other = InputDevice(0, "Built-in", "ALSA", 2, 44_100, is_default=True)
    with microphone(system, clock) as source:
        say(system, np.ones(960, np.float32) / 2)
        source.read()
        system.plugged = [other]
        system.streams[-1].active = False
        wait(source, 5.0)
        say(system, np.ones(9_600, np.float32) / 2)
        events = wait(source, 1.0)
    assert [type(event) for event in events] == [DeviceRestored]
    assert events[0].device == "Built-in"


def test_a_device_that_never_speaks_is_lost(system, clock):
    with microphone(system, clock) as source:
        events = wait(source, 8.0)
    assert [type(event) for event in events] == [DeviceLost]


def test_sound_before_the_end_is_not_lost(system, clock):
    with microphone(system, clock) as source:
        say(system, np.full(48_000, 0.25, np.float32))
        system.streams[-1].active = False
        heard = np.concatenate([source.read(1_000) for _ in range(20)])
    assert len(heard) == pytest.approx(16_000, abs=2)


def test_late_callbacks_of_an_old_stream_are_not_heard(system, clock):
    with microphone(system, clock) as source:
        say(system, np.zeros(960, np.float32))
        source.read()
        old = system.streams[-1]
        old.active = False
        wait(source, 3.0)
        assert len(system.streams) == 2
        old.on_frames(np.ones((960, 1), np.float32), False)
        assert len(source.read()) == 0


def test_nothing_grows_in_an_hour_of_loss(system, clock):
    with microphone(system, clock) as source:
        system.plugged.clear()
        system.streams[-1].active = False
        for _ in range(36_000):
            source.read()
        assert source.nbytes == 0
        assert len(source.take_events()) == 1


def test_bytes_are_the_ring(system, clock):
    source = microphone(system, clock, ring_s=2.0)
    assert source.nbytes == 0
    with source:
        assert source.nbytes == 2 * 48_000 * 4
    source.close()


def test_reading_before_open_is_an_error(system, clock):
    with pytest.raises(DeviceError, match="not open"):
        microphone(system, clock).read()


def test_a_check_finds_the_device_and_records_nothing(system, clock):
    microphone(system, clock).check()
    assert system.streams == []
    with pytest.raises(DeviceError, match="No microphone is called 'radio'"):
        microphone(system, clock, device="radio").check()
