"""A small budget of schemathesis over the server's description, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "fuzz_openapi.py"


def test_no_request_makes_the_server_fail() -> None:
    command = [sys.executable, str(SCRIPT), "--cases", "8", "--seed", "5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "cases, no fault" in done.stdout
