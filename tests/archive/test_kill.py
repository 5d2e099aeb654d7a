"""What was told is in the archive, whenever the process is killed, and it opens again."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("killing.py")


@pytest.mark.skipif(sys.platform == "win32", reason="kills forks")
@pytest.mark.parametrize("what", ["told", "full"])
def test_kills_lose_nothing_that_was_told(what: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), what, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "kills" in done.stdout
