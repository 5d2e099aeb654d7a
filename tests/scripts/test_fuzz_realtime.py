"""A small budget of the fuzzer of WebSocket frames, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "fuzz_realtime.py"


def test_damaged_frames_and_events_end_no_server() -> None:
    command = [sys.executable, str(SCRIPT), "--cases", "250", "--seed", "5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "250 cases, no fault" in done.stdout
