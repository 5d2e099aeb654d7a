"""`edge-audiokv transcribe -`: sound through a pipe, with a header or without."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from edge_audiokv.cli.main import main

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("local_model")]
DATA = Path(__file__).parents[2] / "data"
CLIP = DATA / "garden.flac"
COMMAND = [sys.executable, "-m", "edge_audiokv", "transcribe", "-", "-t", "1", "-f", "jsonl"]


def transcribe(
    data: bytes, *arguments: object, code: int = 0
) -> tuple[list[dict[str, object]], str]:
    """Finals, and what was said on stderr, for `data` through a pipe."""
    command = [*COMMAND, *map(str, arguments)]
    done = subprocess.run(command, input=data, capture_output=True, timeout=300, check=False)
    assert done.returncode == code, done.stderr.decode()
    finals = records(done.stdout)
    # What came through the pipe is called so; the files that follow have their names.
    assert not finals or finals[0].pop("file") == "-"
    for final in finals:
        final.pop("file", None)
    return finals, done.stderr.decode()


def records(out: bytes) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.splitlines()]


def raw_pcm() -> bytes:
    samples, rate_hz = soundfile.read(CLIP, dtype="int16")
    assert rate_hz == 16_000
    return samples.astype("<i2").tobytes()


@pytest.fixture(scope="module")
def from_file() -> list[dict[str, object]]:
    command = [*COMMAND[:4], str(CLIP), *COMMAND[5:]]
    done = subprocess.run(command, capture_output=True, timeout=300, check=True)
    finals = records(done.stdout)
    assert all(final.pop("file") == str(CLIP) for final in finals)
    return finals


def test_a_piped_file_reads_like_the_file(from_file) -> None:
    finals, errors = transcribe(CLIP.read_bytes())
    assert finals == from_file != []
    assert errors == ""


def test_raw_samples_read_like_the_file(from_file) -> None:
    finals, errors = transcribe(raw_pcm(), "--raw", "s16le:16000")
    assert finals == from_file
    assert errors == ""


def test_a_pipe_takes_its_place_among_files(from_file) -> None:
    finals, _ = transcribe(CLIP.read_bytes(), DATA / "harbour.flac")
    assert [final["text"] for final in finals[: len(from_file)]] == [
        final["text"] for final in from_file
    ]
    duration_s = soundfile.info(str(CLIP)).duration
    later = finals[len(from_file) :]
    assert later and all(float(str(final["start_s"])) >= duration_s for final in later)


def test_half_a_sample_at_the_end_is_a_warning(from_file) -> None:
    finals, errors = transcribe(raw_pcm() + b"x", "--raw", "s16le:16000")
    assert [final["text"] for final in finals] == [final["text"] for final in from_file]
    assert "warning" in errors and "last 1 bytes" in errors


@pytest.mark.parametrize(
    ("data", "arguments", "says"),
    [
        (b"", [], "empty"),
        (b"hello, this is no sound at all" * 50, [], "not audio"),
        (b"1234", ["--raw", "mp3"], "not a raw format"),
    ],
)
def test_what_cannot_be_read_is_told_before_a_model_is_looked_for(data, arguments, says) -> None:
    finals, errors = transcribe(data, *arguments, "--model", "no such model", code=3)
    assert finals == [] and says in errors and errors.count("\n") <= 2


def test_help_says_so(capsys) -> None:
    with pytest.raises(SystemExit):
        main(["transcribe", "--help"])
    told = capsys.readouterr().out
    assert "standard input" in " ".join(told.split()) and "--raw" in told
