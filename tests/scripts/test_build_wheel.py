"""scripts/build_wheel says what is missing before it compiles for every kind of CPU."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The script with a folder of its own, which it must not have made."""
    done = subprocess.run(
        ["bash", str(ROOT / "scripts" / "build_wheel"), *words],
        env={**os.environ, "BUILD": str(folder / "wheel"), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert not (folder / "wheel").exists() and done.stdout == ""
    return done


def test_an_option_that_it_does_not_know(tmp_path: Path) -> None:
    done = run(tmp_path, "--all")
    assert done.returncode == 2 and "--help" in done.stderr


@pytest.mark.skipif(platform.system() != "Linux", reason="it is refused elsewhere")
def test_what_it_needs_is_told(tmp_path: Path) -> None:
    done = run(tmp_path, PYTHON=str(tmp_path / "none"))
    assert done.returncode == 1 and "apt install python3 python3-venv" in done.stderr
    # A PATH that has what the script calls before it looks for QEMU, and no QEMU.
    for name in ("bash", "dirname", "uname"):
        (tmp_path / name).symlink_to(subprocess.check_output(["which", name], text=True).strip())
    done = run(tmp_path, "--qemu", PATH=str(tmp_path), PYTHON=sys.executable)
    assert done.returncode == 1 and "qemu" in done.stderr
