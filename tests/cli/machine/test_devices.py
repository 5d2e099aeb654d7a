"""The devices command on a sound system made for the test."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from edge_audiokv.audio.live import portaudio
from edge_audiokv.audio.live.portaudio import InputDevice
from edge_audiokv.cli.machine.devices import devices
from edge_audiokv.errors import DeviceError
from edge_audiokv.native import compute
from edge_audiokv.native.compute import ComputeDevice

MICROPHONES = [
    InputDevice(0, "USB mic", "ALSA", 1, 48_000, is_default=True),
    InputDevice(3, "Built-in", "ALSA", 2, 44_100),
]


@pytest.fixture
def plugged(monkeypatch):
    found = list(MICROPHONES)
    monkeypatch.setattr(portaudio.PortAudio, "inputs", lambda self: found)
    return found


def test_table(plugged):
    lines = CliRunner().invoke(devices).output.splitlines()
    assert lines[1].split() == ["*", "0", "USB", "mic", "ALSA", "1", "48000", "Hz"]
    assert lines[2].split() == ["3", "Built-in", "ALSA", "2", "44100", "Hz"]


def test_json(plugged):
    rows = json.loads(CliRunner().invoke(devices, ["--json"]).output)
    assert [(row["index"], row["name"], row["is_default"]) for row in rows] == [
        (0, "USB mic", True),
        (3, "Built-in", False),
    ]


def test_none(plugged):
    plugged.clear()
    result = CliRunner().invoke(devices)
    assert isinstance(result.exception, DeviceError) and "Plug one in" in str(result.exception)
    assert json.loads(CliRunner().invoke(devices, ["--json"]).output) == []


def test_a_device_that_does_not_open_is_told_in_its_row(plugged, monkeypatch):
    def refuse(self, device, channels, on_frames):
        raise DeviceError(f"{device.name} is busy.")

    monkeypatch.setattr(portaudio.PortAudio, "start", refuse)
    rows = json.loads(CliRunner().invoke(devices, ["--json", "--level", "0.1"]).output)
    assert rows[0]["error"] == "USB mic is busy."


GPU = ComputeDevice("Vulkan0", "A card", "gpu", 6 << 30, 8 << 30, unified=False, handle=1)
CPU = ComputeDevice("CPU", "A chip", "cpu", 0, 16 << 30, unified=True, handle=2)


def test_what_the_llm_can_compute_on(monkeypatch):
    monkeypatch.setattr(compute, "compute_devices", lambda: [GPU, CPU])
    lines = CliRunner().invoke(devices, ["--compute"]).output.splitlines()
    assert lines[0].split() == ["name", "kind", "free", "total", "description"]
    assert lines[1].split() == ["Vulkan0", "gpu", "6.00", "GiB", "8.00", "GiB", "A", "card"]
    # What a driver does not say is not zero.
    assert lines[2].split() == ["CPU", "cpu", "-", "16.00", "GiB", "A", "chip"]
    rows = json.loads(CliRunner().invoke(devices, ["--compute", "--json"]).output)
    assert rows[0] == {
        "name": "Vulkan0",
        "description": "A card",
        "kind": "gpu",
        "free_bytes": 6 << 30,
        "total_bytes": 8 << 30,
        "unified": False,
    }
    result = CliRunner().invoke(devices, ["--compute", "--level", "1"])
    assert result.exit_code == 2 and "about microphones" in result.output
