"""`listen -` with a sender that goes on for ever: what it sends is heard, and nothing is lost."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile

from edge_audiokv.events import Event, Final, SessionEnded, from_json

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.name != "posix", reason="signals"),
    pytest.mark.alone,
]
TALK = Path(__file__).parents[2] / "data" / "two_sentences.flac"
COMMAND = [sys.executable, "-m", "edge_audiokv", "listen", "-", "-t", "1", "--mem", "1GB"]


def streamed_wav() -> bytes:
    """What arecord sends: a header that knows no length."""
    samples, rate_hz = soundfile.read(TALK, dtype="int16")
    memory = io.BytesIO()
    soundfile.write(memory, samples, rate_hz, format="WAV")
    data = bytearray(memory.getvalue())
    data[40:44] = (0x80000000).to_bytes(4, "little")
    return bytes(data)


def wait_for(process: subprocess.Popen[bytes], path: Path, words: str) -> None:
    deadline = time.monotonic() + 240
    while not any(words in near.read_text() for near in path.parent.glob(f"*{path.name}*")):
        assert process.poll() is None and time.monotonic() < deadline, words
        time.sleep(0.05)


def ended(process: subprocess.Popen[bytes], path: Path) -> tuple[list[Event], str]:
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 143, err
    return [from_json(line) for line in path.read_text().splitlines()], err.decode()


@pytest.mark.parametrize("raw", [False, True])
def test_a_sender_that_goes_quiet(tmp_path, raw) -> None:
    """The last sentence is told while the pipe is still open, and a signal loses nothing."""
    path, spool = tmp_path / "out.jsonl", tmp_path / "spool"
    spool.mkdir()
    options = ["--raw", "s16le:16000"] if raw else []
    process = subprocess.Popen(
        [*COMMAND, "-f", "jsonl", "-o", str(path), *options],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(spool)},
    )
    assert process.stdin is not None
    data = streamed_wav()[44 if raw else 0 :]
    # The sound ends in the middle of the last word, with no silence behind it.
    process.stdin.write(data[: len(data) - 2 * 16_000])
    process.stdin.flush()
    wait_for(process, path, '"final", "id": 1')
    assert list(spool.iterdir()) == []
    heard, err = ended(process, path)
    finals = [event for event in heard if isinstance(event, Final)]
    assert [event.id for event in finals] == [0, 1] and "train" in finals[0].text
    duration_s = (len(data) - 2 * 16_000) / 32_000
    assert all(event.end_s <= duration_s + 0.01 for event in finals)
    assert isinstance(heard[-1], SessionEnded) and heard[-1].reason == "terminated"
    assert "Traceback" not in err


def test_a_sender_that_sends_nothing_can_be_left(tmp_path) -> None:
    path = tmp_path / "out.jsonl"
    process = subprocess.Popen(
        [*COMMAND, "-f", "jsonl", "-o", str(path), "--save-audio", str(tmp_path / "a.wav")],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(streamed_wav()[:20])
    process.stdin.flush()
    deadline = time.monotonic() + 120
    while not (tmp_path / "a.wav").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(3)  # the model loads after that file is made
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode in (143, -15) and b"Traceback" not in err
