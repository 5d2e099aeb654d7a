"""The whole way: speech into a virtual microphone, through PortAudio, to text on stdout."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge_audiokv.events import Final, from_json

ROOT = Path(__file__).parents[3]
CABLE = ROOT / "scripts" / "virtual_microphone.sh"
DATA = ROOT / "tests" / "data"

pytestmark = [
    pytest.mark.alone,
    pytest.mark.mic,
    pytest.mark.integration,
    pytest.mark.skipif(
        not all(map(shutil.which, ("pulseaudio", "pactl", "paplay"))),
        reason="PulseAudio is not installed; .ci/run installs it",
    ),
]


@pytest.fixture
def cable(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment in which the virtual microphone is there."""
    started = subprocess.run(
        [CABLE, "start", tmp_path], capture_output=True, text=True, timeout=60, check=True
    )
    environment = dict(os.environ)
    environment.update(word.split("=", 1) for word in started.stdout.split()[1:])
    try:
        yield environment
    finally:
        subprocess.run([CABLE, "stop", tmp_path], timeout=60, check=True)


def test_what_is_said_into_the_microphone_comes_out_as_text(
    cable: dict[str, str], tmp_path: Path
) -> None:
    # Two clips that the model hears well from a file: what is missing was lost on the way.
    clips = [soundfile.read(DATA / f"{name}.flac")[0] for name in ("letter", "garden")]
    talk = tmp_path / "talk.wav"
    pause = np.zeros(24_000)
    soundfile.write(talk, np.concatenate([clips[0], pause, clips[1], pause]), 16_000)
    command = [sys.executable, "-m", "edge_audiokv", "listen", "-d", "virtual", "-t", "1"]
    with subprocess.Popen(
        [*command, "--mem", "1GB", "--format", "jsonl"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        env=cable,
    ) as process:
        assert process.stdout is not None
        finals: list[str] = []
        # It may still be loading when it is first spoken to.
        for _attempt in range(5):
            play(cable, talk)
            finals = read_finals(process)
            if any("letter" in text for text in finals):
                break
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=120)
    assert process.returncode == 130, complaints
    for phrase in ("letter to his brother", "small garden full of white"):
        assert any(phrase in text for text in finals), (finals, complaints)


def play(environment: dict[str, str], talk: Path) -> None:
    subprocess.run(["paplay", "--device=cable", str(talk)], env=environment, timeout=60, check=True)


def read_finals(process: subprocess.Popen[bytes]) -> list[str]:
    """Final texts until nothing more comes for a while."""
    assert process.stdout is not None
    seen = b""
    while select.select([process.stdout], [], [], 15)[0]:
        piece = os.read(process.stdout.fileno(), 65536)
        if not piece:
            break
        seen += piece
        lines = seen.decode().splitlines()
        heard = [from_json(line) for line in lines if line.endswith("}")]
        texts = [event.text for event in heard if isinstance(event, Final)]
        if len(texts) >= 2:
            return texts
    return []
