"""Two sessions in one process share the sum of one cap."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("local_model")]


def test_the_second_counts_the_first_as_what_it_is(clips) -> None:
    # In a process of its own: other tests' sessions would count, too.
    script = Path(__file__).parent / "two_sessions.py"
    done = subprocess.run(
        [sys.executable, str(script), str(clips["harbour"].path)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
