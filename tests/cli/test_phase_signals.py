"""A signal in any phase of any long command: its code, no traceback, and no half under a name."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.models import hostile

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("local_model")]

CODES = {signal.SIGHUP: 129, signal.SIGINT: 130, signal.SIGTERM: 143}
# Lines of the log that begin a phase.
LOADING, DECODING = "llama_model_loader", "sched_reserve: reserve took"


@pytest.fixture
def long(spoken, tmp_path) -> Path:
    """Speech that no machine is done with before the signal comes."""
    gap = np.zeros(24000, np.float32)
    clips = [piece for clip in spoken.values() for piece in (clip.samples, gap)]
    path = tmp_path / "long.flac"
    soundfile.write(str(path), np.concatenate(clips * 60), 16000)
    return path


@pytest.fixture
def manifest(spoken, tmp_path) -> Path:
    clip = spoken["letter"]
    path = tmp_path / "manifest.jsonl"
    path.write_text(f"{json.dumps({'path': str(clip.path), 'text': clip.text})}\n" * 500)
    return path


def stop(process: subprocess.Popen[str], phase: str, number: int) -> tuple[str, str]:
    """Send `number` once `phase` is logged; what came on both streams."""
    assert process.stderr is not None
    before = []
    for line in process.stderr:
        before.append(line)
        if phase in line:
            break
    process.send_signal(number)
    try:
        out, err = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return out, "".join(before) + err


PHASES = [
    ("ask", LOADING, signal.SIGTERM),
    ("ask", DECODING, signal.SIGINT),
    ("eval", LOADING, signal.SIGINT),
    ("eval", DECODING, signal.SIGHUP),
    ("calibrate", DECODING, signal.SIGTERM),
    ("listen", LOADING, signal.SIGHUP),
    ("listen", DECODING, signal.SIGTERM),
]


@pytest.mark.parametrize(
    ("name", "phase", "number"), PHASES, ids=lambda value: getattr(value, "name", str(value))
)
def test_a_signal_ends_a_phase(command, long, manifest, tmp_path, name, phase, number) -> None:
    result = tmp_path / "result"
    words: dict[str, list[object]] = {
        "ask": ["ask", long, "What was said?"],
        "eval": ["eval", "wer", "--manifest", manifest],
        "calibrate": ["calibrate", "--data", manifest, "--tables", "speech", "-o", result],
        "listen": ["listen", long, "-f", "jsonl", "-o", result],
    }
    with command.start("-v", "-v", *words[name]) as process:
        out, err = stop(process, phase, number)
    assert process.returncode == CODES[number], err[-2000:]
    assert out == "" and "Traceback" not in err
    if (name, phase) == ("ask", LOADING):
        assert "broken off while the model was loading: nothing was written." in err
    if name != "listen":
        assert not result.exists()
    elif result.exists():  # all that it holds is whole
        assert all(json.loads(line) for line in result.read_text().splitlines())
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".result")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_folder_of_results_holds_no_half(command, long, tmp_path, number) -> None:
    folder = tmp_path / "texts"
    with command.start("transcribe", long, "--output-dir", folder) as process:
        deadline = time.monotonic() + 120
        while not any(path.stat().st_size for path in folder.glob(".long.*")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == CODES.get(number, -number) and out == ""
    assert "Traceback" not in err
    target = folder / "long.txt"
    if number == signal.SIGKILL:
        # Nobody takes it for a finished one: it has no name yet.
        assert not target.exists()
    else:
        # The result so far is whole, and nothing else is left.
        assert [path.name for path in folder.iterdir()] == ["long.txt"]
        assert target.read_text().endswith("\n")


@pytest.mark.parametrize("number", list(CODES), ids=lambda number: number.name)
def test_a_signal_during_a_fetch_keeps_the_part(command, tmp_path, number) -> None:
    size_bytes, digest = 50_000_000, hashlib.sha256(b"other").hexdigest()
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {size_bytes}\r\n\r\n".encode()
    with hostile.serve(hostile.Manners([head], b"y" * 10_000, 0.02)) as url:
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "model.toml").write_text(
            'name = "far"\n[audio]\nsample_rate_hz = 16000\ntokens_per_second = 12.5\n'
            'max_audio_s = 30\n[llm]\narchitecture = "llama"\nd_model = 64\n'
            'context_length_tokens = 512\n[prompt]\ntemplate = "{audio}{question}"\n'
            'end_of_turn = "x"\nquestion = "?"\n'
            f'[[file]]\nrole = "encoder"\nname = "far.onnx"\nurl = "{url}"\n'
            f'size_bytes = {size_bytes}\nsha256 = "{digest}"\n'
            '[[file]]\nrole = "llm"\nname = "llm.gguf"\n'
        )
        cache = {"EDGE_AUDIOKV_CACHE": str(tmp_path / "cache")}
        with command.start("models", "pull", tmp_path / "model", **cache) as process:
            out, err = stop(process, "fetch far.onnx", number)
    assert (process.returncode, out) == (CODES[number], "")
    assert "Traceback" not in err
    left = [
        Path(folder) / name for folder, _, names in os.walk(tmp_path / "cache") for name in names
    ]
    assert [path.name for path in left] in ([], ["far.onnx.part"])
