"""A few cases of `scripts/fuzz_gguf.py`: damaged files end no process and raise what is ours."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "fuzz_gguf.py"

pytestmark = pytest.mark.integration


def test_damaged_files_end_no_process() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--cases", "40", "--seed", "7"],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "40 cases" in done.stdout
