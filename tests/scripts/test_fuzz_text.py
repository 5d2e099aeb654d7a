"""A small budget of the fuzzer of texts, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "fuzz_text.py"

pytestmark = pytest.mark.integration


def test_damaged_texts_end_in_words() -> None:
    command = [sys.executable, str(SCRIPT), "--cases", "60", "--seed", "20"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "60 cases, no fault" in done.stdout
