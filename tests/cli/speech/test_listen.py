"""`listen` with the real model: results, signals, recording."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from edge_audiokv.audio.live import portaudio
from edge_audiokv.cli.speech.listen import listen
from edge_audiokv.events import Event, Final, SessionEnded, from_json

DATA = Path(__file__).parents[2] / "data"
TALK = DATA / "two_sentences.flac"
COMMAND = [sys.executable, "-m", "edge_audiokv", "listen", "-t", "1", "--mem", "1GB"]

pytestmark = [pytest.mark.integration, pytest.mark.alone]


def run(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=300, **options
    )  # type: ignore[call-overload,no-any-return]


def events(text: str) -> list[Event]:
    return [from_json(line) for line in text.splitlines()]


@pytest.mark.parametrize("context", ["fresh", "rolling"])
def test_a_file_becomes_events_and_nothing_else_on_stdout(context: str) -> None:
    done = run(str(TALK), "--format", "jsonl", "--context", context)
    assert done.returncode == 0, done.stderr
    heard = events(done.stdout)
    finals = [event for event in heard if isinstance(event, Final)]
    assert len(finals) == 2
    assert "train" in finals[0].text
    assert isinstance(heard[-1], SessionEnded)
    assert "realtime factor" in done.stderr


def test_raw_sound_through_a_pipe_is_heard_and_recorded(tmp_path: Path) -> None:
    sound, rate_hz = soundfile.read(TALK, dtype="int16")
    saved = tmp_path / "kept.flac"
    done = subprocess.run(
        [*COMMAND, "-", "--raw", f"s16le:{rate_hz}", "--save-audio", str(saved)],
        input=sound.tobytes(),
        capture_output=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "train" in done.stdout.decode()
    kept, kept_hz = soundfile.read(saved, dtype="float32")
    assert kept_hz == 16000
    assert abs(len(kept) / kept_hz - len(sound) / rate_hz) < 0.1
    assert np.abs(kept).max() > 0.1


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGHUP, 129), (signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_a_signal_ends_the_open_segment_and_tells_what_it_was(
    number: signal.Signals, code: int
) -> None:
    # A pipe that stays open: the session is still listening when the signal comes.
    with subprocess.Popen(
        [*COMMAND, "-", "--raw", "s16le:16000", "-f", "jsonl"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        sound, _ = soundfile.read(TALK, dtype="int16")
        assert process.stdin is not None
        # The first sentence and its pause, then half of the second.
        process.stdin.write(sound[: int(4.8 * 16000)].tobytes())
        process.stdin.flush()
        seen = wait_for(process, b'"speech-started", "id": 1')
        process.send_signal(number)
        assert process.stdout is not None
        seen += process.stdout.read()
        process.wait(timeout=120)
    assert process.returncode == code
    heard = events(seen.decode())
    finals = [event for event in heard if isinstance(event, Final)]
    assert [event.id for event in finals] == [0, 1]
    assert "morning" in finals[0].text
    assert isinstance(heard[-1], SessionEnded)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nothing-here.wav"], 3, "nothing-here.wav"),
        ([str(TALK), "--raw", "u7:1"], 3, "s16le"),
        (["--raw", "s16le:16000"], 2, "--raw needs a SOURCE: - for standard input"),
        ([str(TALK), "--device", "1"], 2, "--device is for the microphone"),
        ([str(TALK), "--mem", "20MB"], 6, "Use --mem"),
        ([str(TALK), "--save-audio", "/nowhere/x.flac"], 10, "/nowhere/x.flac"),
        ([str(TALK), "--kv-policy", "luck"], 9, "audiokv-edge"),
    ],
)
def test_bad_input_is_one_line_with_a_cure(arguments: list[str], code: int, words: str) -> None:
    done = run(*arguments)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing-here.wav"], "no file nothing-here"),
        (["-d", "radio"], "No microphone was found"),
    ],
)
def test_what_cannot_be_heard_is_told_before_a_model_is_looked_for(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.setattr(portaudio.PortAudio, "inputs", lambda self: [])
    ran = CliRunner().invoke(listen, [*arguments, "--model", "no-such-model"])
    assert words in str(ran.exception)


def test_the_summary_is_one_line_after_a_whole_result() -> None:
    # One stream for both, as on a terminal.
    done = subprocess.run(
        [*COMMAND, str(TALK), "--format", "json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    document, _, summary = done.stdout.rstrip().rpartition("\n")
    assert json.loads(document)["complete"]
    assert summary.startswith("2 segments in 00:00:05 (end of the source), realtime factor")
    assert summary.endswith("of --mem 1GB (953.7 MiB)")


def wait_for(process: subprocess.Popen[bytes], words: bytes) -> bytes:
    """What comes on stdout, until `words` are in it."""
    assert process.stdout is not None
    seen = b""
    while words not in seen:
        ready = select.select([process.stdout], [], [], 120)[0]
        piece = os.read(process.stdout.fileno(), 4096) if ready else b""
        if not piece:
            raise AssertionError(f"{words!r} never came: {seen!r}")
        seen += piece
    return seen


def test_events_on_the_wire_are_json_lines() -> None:
    done = run(str(TALK), "--format", "jsonl", "--no-partials")
    for line in done.stdout.splitlines():
        assert "type" in json.loads(line)
