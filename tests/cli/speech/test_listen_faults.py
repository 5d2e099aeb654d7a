"""`listen` when the world goes wrong: killed in the middle, a full disk, a recording that ends."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge_audiokv.events import Event, Final, SessionEnded, from_json

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.name != "posix", reason="signals"),
    pytest.mark.alone,
]
DATA = Path(__file__).parents[2] / "data"
TALK = DATA / "two_sentences.flac"
COMMAND = [sys.executable, "-m", "edge_audiokv", "listen", "-t", "1", "--mem", "1GB"]


def start(*arguments: object, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]
    )


def events(text: str) -> list[Event]:
    return [from_json(line) for line in text.splitlines()]


def wait_for_text(process: subprocess.Popen[str], path: Path, words: str) -> None:
    """Until `words` are in the file: no test waits by the clock for what a machine computes."""
    deadline = time.monotonic() + 240
    while not any(words in near.read_text() for near in path.parent.glob(f"*{path.name}*")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"{words!r} never came"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGHUP, 129), (signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
@pytest.mark.parametrize("context", ["fresh", "rolling"])
def test_what_was_final_is_on_disk_after_a_signal(tmp_path, number, code, context) -> None:
    path = tmp_path / "out.jsonl"
    process = start(TALK, "--realtime", "-f", "jsonl", "-o", path, "--context", context)
    wait_for_text(process, path, '"speech-started", "id": 1')
    process.send_signal(number)
    out, err = process.communicate(timeout=240)
    assert process.returncode == code, err
    assert out == "" and "Traceback" not in err
    heard = events(path.read_text())
    finals = [event for event in heard if isinstance(event, Final)]
    assert [event.id for event in finals] == [0, 1] and "train" in finals[0].text
    assert isinstance(heard[-1], SessionEnded)
    assert heard[-1].reason == ("interrupted" if number == signal.SIGINT else "terminated")


def test_subtitles_are_whole_after_a_signal(tmp_path) -> None:
    path = tmp_path / "out.srt"
    process = start(TALK, "--realtime", "-f", "srt", "-o", path)
    wait_for_text(process, path, "train")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 130, err
    blocks = path.read_text().strip().split("\n\n")
    assert [block.split("\n")[0] for block in blocks] == [str(n + 1) for n in range(len(blocks))]
    assert "train" in blocks[0]


def test_even_a_kill_leaves_the_lines_that_were_final(tmp_path) -> None:
    path = tmp_path / "out.jsonl"
    process = start(TALK, "--realtime", "-f", "jsonl", "-o", path)
    wait_for_text(process, path, '"final"')
    process.kill()
    process.communicate()
    (left,) = tmp_path.iterdir()
    whole = [line for line in left.read_text().splitlines(keepends=True) if line.endswith("\n")]
    assert any(isinstance(event, Final) for event in events("".join(whole)))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("format_name", ["text", "jsonl", "srt"])
def test_a_full_disk_for_the_text_is_one_line_and_its_code(format_name) -> None:
    process = start(TALK, "-f", format_name, "-o", "/dev/full")
    out, err = process.communicate(timeout=240)
    assert process.returncode == 10, err
    assert out == "" and "Traceback" not in err
    assert "No space left" in err


def test_a_full_disk_for_the_recording_does_not_end_the_listening(tmp_path) -> None:
    saved = tmp_path / "day.wav"
    limit_bytes = 60_000  # 1.9 s of 16-bit sound; a limit on files is a full disk to libsndfile

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    process = start(TALK, "-f", "jsonl", "--save-audio", saved, preexec_fn=limit)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    heard = events(out)
    assert len([event for event in heard if isinstance(event, Final)]) == 2
    assert err.count("is not recorded any more") == 1
    kept, rate_hz = soundfile.read(saved, dtype="float32")
    assert rate_hz == 16_000 and 16_000 < len(kept) <= limit_bytes // 2
    expected = soundfile.read(TALK, dtype="float32")[0][: len(kept)]
    np.testing.assert_allclose(kept, expected, atol=2 / 32768)


@pytest.mark.parametrize("share", [0.0, 0.5], ids=["empty", "truncated"])
def test_a_file_that_is_not_whole(tmp_path, share) -> None:
    path = tmp_path / "cut.wav"
    sound, rate_hz = soundfile.read(TALK, dtype="float32")
    soundfile.write(path, sound, rate_hz)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    process = start(path)
    out, err = process.communicate(timeout=240)
    if share:
        assert process.returncode == 0 and "train" in out and "cut short" in err
    else:
        assert process.returncode == 3 and out == "" and "empty" in err


def test_eight_kilohertz_stereo_is_heard(tmp_path) -> None:
    path = tmp_path / "phone.wav"
    sound, _ = soundfile.read(TALK, dtype="float32")
    narrow = sound[::2]
    soundfile.write(path, np.stack([narrow, narrow], axis=1), 8_000)
    process = start(path)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert "train" in out or "morning" in out
