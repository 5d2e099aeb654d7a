"""A small budget of the sound fuzzer, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "fuzz_sound.py"


def test_damaged_sound_ends_in_words() -> None:
    command = [sys.executable, str(SCRIPT), "--cases", "300", "--seed", "77"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "300 cases, no fault" in done.stdout
