"""Which microphone a person means."""

from __future__ import annotations

import pytest

from edge_audiokv.audio.live.devices import find_input
from edge_audiokv.audio.live.portaudio import InputDevice
from edge_audiokv.errors import DeviceError

DEVICES = [
    InputDevice(0, "HDA Intel: ALC257", "ALSA", 2, 48_000),
    InputDevice(2, "USB Audio", "ALSA", 1, 48_000),
    InputDevice(5, "USB Audio", "JACK", 1, 48_000, is_default=True),
    InputDevice(7, "USB Audio Pro", "ALSA", 2, 44_100),
]


@pytest.mark.parametrize(
    ("spec", "index"),
    [(None, 5), (7, 7), ("2", 2), ("alc257", 0), ("usb audio", 5), ("audio pro", 7)],
)
def test_finds(spec, index):
    assert find_input(spec, DEVICES).index == index


def test_without_a_default_the_first_is_taken():
    assert find_input(None, DEVICES[:2]).index == 0


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (1, "no microphone number 1. Choose one of: 0 'HDA Intel: ALC257'"),
        ("webcam", "No microphone is called 'webcam'"),
        ("usb", "fits several"),
    ],
)
def test_refusals_name_the_choices(spec, says):
    with pytest.raises(DeviceError, match=says) as caught:
        find_input(spec, DEVICES)
    assert "7 'USB Audio Pro'" in str(caught.value)


def test_no_device_at_all():
    with pytest.raises(DeviceError, match=r"No microphone was found.*group audio"):
        find_input(None, [])
