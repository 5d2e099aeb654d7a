"""A small budget of the fuzzer of encoders, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "fuzz_onnx.py"


def test_damaged_encoders_end_no_process() -> None:
    command = [sys.executable, str(SCRIPT), "--cases", "40", "--seed", "300"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "40 cases, no fault" in done.stdout
