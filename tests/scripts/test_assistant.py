"""The example of the Python API runs, on speech, as its first lines say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import edge_audiokv

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]
PACKAGE_ROOT = Path(edge_audiokv.__file__).parents[1]


def run(*args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "assistant.py"), *map(str, args)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(PACKAGE_ROOT)},
    )


def test_it_writes_down_what_it_hears_and_answers() -> None:
    clip = ROOT / "tests" / "data" / "two_sentences.flac"
    # "The" is what this speaker begins with: it takes the place of the assistant's name.
    done = run(clip, "--name", "the", "--ask", "What was late?", "--threads", 1)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "train" in lines[0] and lines[0].startswith("[    0.")
    assert "-> " in lines[1], "the spoken question is answered"
    assert "(end of the source)" in done.stdout
    assert lines[-2] == "What was late?" and "-> " in lines[-1]


def test_what_goes_wrong_is_one_line() -> None:
    done = run("missing.wav")
    # The code that the command would end with.
    assert done.returncode == edge_audiokv.errors.InputError.exit_code and done.stdout == ""
    assert done.stderr.splitlines() == ["assistant: There is no file missing.wav. Check the name."]


def test_the_example_stays_an_example() -> None:
    source = (ROOT / "scripts" / "assistant.py").read_text()
    body = source.split("def main() -> None:")[1].split('if __name__ == "__main__":')[0]
    assert len([line for line in body.splitlines() if line.strip()]) <= 30
