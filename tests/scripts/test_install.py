"""scripts/install says what is missing before it builds."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

INSTALL = Path(__file__).parents[2] / "scripts" / "install"


def run(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The script with a folder for a new environment; it is refused before that is made."""
    done = subprocess.run(
        ["bash", str(INSTALL)],
        env={**os.environ, "VENV": str(folder / "venv"), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1 and done.stdout == ""
    assert not (folder / "venv").exists()
    return done


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("text", ["exit 1", "echo 'xcode-select: no tools' >&2; exit 1"])
def test_no_compiler_that_works_is_told_with_what_to_install(tmp_path: Path, text: str) -> None:
    done = run(tmp_path, CXX=script(tmp_path / "c++", text))
    assert "C++ compiler" in done.stderr and "CMake" not in done.stderr
    for words in ("apt install build-essential", "xcode-select --install"):
        assert words in done.stderr
    assert all(line.startswith("install: ") for line in done.stderr.splitlines())
    # But for a name that is long itself.
    assert all(len(line) < 80 or str(tmp_path) in line for line in done.stderr.splitlines())


def test_no_python_and_no_venv_are_told(tmp_path: Path) -> None:
    assert "older than 3.11" in run(tmp_path, PYTHON=str(tmp_path / "none")).stderr
    compiler = script(tmp_path / "c++", "exit 0")
    bare = script(tmp_path / "python", 'case "$2" in *venv*) exit 1 ;; esac; exit 0')
    done = run(tmp_path, PYTHON=bare, CXX=compiler)
    assert "apt install python3-venv" in done.stderr


def test_help_says_what_it_needs() -> None:
    done = subprocess.run(
        ["bash", str(INSTALL), "--help"], capture_output=True, text=True, check=True
    )
    assert "C++ compiler" in done.stdout and not done.stdout.startswith("#")


@pytest.mark.parametrize(
    "name", ["install", "test", "build_sanitized", "test_compute", "build_wheel"]
)
def test_help_fits_a_terminal_and_ends_with_its_sentence(name: str) -> None:
    done = subprocess.run(
        ["bash", str(INSTALL.with_name(name)), "-h"], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) < 80 and lines[-1].endswith((".", "guard"))
    assert not any(line.startswith(("#", "set -")) for line in lines)


@pytest.mark.parametrize("code", [0, 3])
def test_it_says_what_it_does_and_shows_the_end_of_what_failed(tmp_path: Path, code: int) -> None:
    made = tmp_path / "venv" / "bin"
    made.mkdir(parents=True)
    script(made / "python", f"echo it is $2 that went wrong; exit {code}")
    done = subprocess.run(
        ["bash", str(INSTALL)],
        env={
            **os.environ,
            "VENV": str(tmp_path / "venv"),
            "CXX": script(tmp_path / "c++", "exit 0"),
            "TMPDIR": str(tmp_path),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "building llama.cpp" in done.stdout
    lines = [*done.stdout.splitlines(), *done.stderr.splitlines()]
    assert all(len(line.replace(str(tmp_path), ".")) < 80 for line in lines)
    logs = list(tmp_path.glob("edge-audiokv-install.*"))
    if code:
        assert done.returncode == 1 and "it is pip that went wrong" in done.stderr
        assert str(logs[0]) in done.stderr
    else:
        assert (done.returncode, done.stderr, logs) == (0, "", [])
        assert "done in" in done.stdout


@pytest.mark.parametrize("argument", ["--foo", "help"])
def test_what_it_does_not_know_is_told_before_anything_is_done(argument: str) -> None:
    done = subprocess.run(
        ["bash", str(INSTALL), argument], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and done.stdout == ""
    assert argument in done.stderr and "--help" in done.stderr


def test_an_environment_that_was_half_made_is_made_anew(tmp_path: Path) -> None:
    """Python's own words are not shown to who breaks off, and the next run does not stumble."""
    venv, asked = tmp_path / "venv", tmp_path / "asked"
    slow = script(
        tmp_path / "python",
        f"""case "$*" in
*-m\\ venv*)
    echo "$*" >>{asked}
    mkdir -p {venv}/bin
    printf '#!/bin/sh\\n[ -e {tmp_path}/whole ] || exit 3\\n' >{venv}/bin/python
    chmod +x {venv}/bin/python
    [ -e {tmp_path}/whole ] && exit 0
    trap 'echo Traceback >&2; exit 1' INT
    sleep 30 >/dev/null 2>&1 & wait
    ;;
esac""",
    )
    environment = {
        **os.environ,
        "VENV": str(venv),
        "PYTHON": slow,
        "CXX": script(tmp_path / "c++", "exit 0"),
        "TMPDIR": str(tmp_path),
    }
    process = subprocess.Popen(
        ["bash", str(INSTALL)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 30
    while not asked.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "")
    assert not list(tmp_path.glob("edge-audiokv-install.*"))
    (tmp_path / "whole").touch()
    again = subprocess.run(
        ["bash", str(INSTALL)], env=environment, capture_output=True, text=True, check=False
    )
    assert (again.returncode, again.stderr) == (0, "")
    first, second = asked.read_text().splitlines()
    assert "--clear" not in first and "--clear" in second
