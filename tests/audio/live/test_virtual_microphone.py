"""The real way of a sound: PulseAudio, ALSA, PortAudio, sounddevice's callback, our reader.

A null sink plays the cable: what paplay puts in, the microphone hears. Each test reads in a
process of its own, for PortAudio looks at the environment once.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge_audiokv.audio.files.file import read_all

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "scripts" / "virtual_microphone.sh"

pytestmark = [
    pytest.mark.alone,
    pytest.mark.mic,
    pytest.mark.skipif(
        not all(map(shutil.which, ("pulseaudio", "pactl", "paplay"))),
        reason="PulseAudio is not installed: apt-get install pulseaudio pulseaudio-utils "
        "libportaudio2 libasound2-plugins",
    ),
]

# Reads until told enough, says what happens on standard output, keeps the sound.
LISTENER = """
import sys, time
import numpy as np, soundfile
from edge_audiokv.audio.live.microphone import MicrophoneSource
out, seconds, stop_at = sys.argv[1], float(sys.argv[2]), sys.argv[3]
pieces, give_up = [], time.monotonic() + 60
with MicrophoneSource("virtual", lost_after_s=2.0, retry_s=0.2) as source:
    heard = False
    while time.monotonic() < give_up:
        piece = source.read(1600)
        if len(piece):
            pieces.append(piece)
            if not heard:
                heard = True
                print("hearing", flush=True)
        kinds = [type(event).__name__ for event in source.take_events()]
        for kind in kinds:
            print(kind, flush=True)
        if stop_at in kinds or source.clock_s >= seconds:
            break
soundfile.write(out, np.concatenate(pieces), 16_000)
print("end", source.clock_s, flush=True)
"""


class Cable:
    def __init__(self, folder):
        self.folder = folder
        self.environment = dict(os.environ)

    def run(self, action):
        done = subprocess.run(
            [SCRIPT, action, self.folder], capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout

    def start(self):
        for word in self.run("start").split()[1:]:
            name, value = word.split("=", 1)
            self.environment[name] = value

    def play(self, path):
        command = ["paplay", "--device=cable", str(path)]
        subprocess.run(command, env=self.environment, timeout=60, check=True)

    def listen(self, out, seconds, stop_at="never"):
        return subprocess.Popen(
            [sys.executable, "-c", LISTENER, str(out), str(seconds), stop_at],
            env={**self.environment, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def command(self, *words):
        return subprocess.run(
            [sys.executable, "-m", "edge_audiokv", *words],
            env={**self.environment, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=120,
        )


@pytest.fixture
def cable(tmp_path_factory):
    made = Cable(tmp_path_factory.mktemp("cable"))
    made.start()
    yield made
    made.run("stop")


def expect(listener, line):
    """Wait for a line of the listener; its own errors are shown when it ends early."""
    for said in listener.stdout:
        if said.startswith(line):
            return said
    listener.wait(timeout=10)
    raise AssertionError(f"ended without {line!r}: {listener.stderr.read()}")


def finish(listener):
    _, errors = listener.communicate(timeout=90)
    assert listener.returncode == 0, errors


def correlation(heard, played):
    """The best normalised match of `played` anywhere in `heard`."""
    size = len(heard) + len(played)
    spectrum = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(played, size))
    best = int(np.argmax(np.fft.irfft(spectrum, size)[: len(heard)]))
    part = heard[best : best + len(played)]
    assert len(part) == len(played), "the end of what was played is missing"
    return float(part @ played / np.sqrt((part @ part) * (played @ played)))


def test_what_is_played_is_what_is_heard(cable, clips, tmp_path):
    played = read_all(clips["harbour"])
    soundfile.write(tmp_path / "played.wav", played, 16_000)
    listener = cable.listen(tmp_path / "heard.wav", 9.0)
    expect(listener, "hearing")
    cable.play(tmp_path / "played.wav")
    finish(listener)
    heard = read_all(tmp_path / "heard.wav")
    assert correlation(heard, played) > 0.98


def test_unplugged_and_plugged_in_again(cable, clips, tmp_path):
    played = read_all(clips["letter"])
    soundfile.write(tmp_path / "played.wav", played, 16_000)
    listener = cable.listen(tmp_path / "heard.wav", 600.0, stop_at="DeviceRestored")
    expect(listener, "hearing")
    cable.run("unplug")
    expect(listener, "DeviceLost")
    cable.run("plug")
    expect(listener, "DeviceRestored")
    finish(listener)


def test_devices_command_lists_it_and_hears_its_level(cable):
    done = cable.command("devices", "--json")
    assert done.returncode == 0, done.stderr
    assert '"virtual_microphone"' in done.stdout
    done = cable.command("devices")
    assert "virtual_microphone" in done.stdout
