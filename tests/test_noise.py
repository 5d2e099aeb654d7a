"""What libraries of C write never mixes with results, fills nothing, and is told once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import edge_audiokv

_ROOT = str(Path(edge_audiokv.__file__).resolve().parents[1])
_HEAD = """
import ctypes, os, subprocess, sys, threading
from edge_audiokv import noise
libc = ctypes.CDLL(None)
def c_says(text, number=1):
    os.write(number, text.encode())
    libc.printf(text.encode())
"""


def run(body: str, *flags: str, **streams: object) -> subprocess.CompletedProcess[str]:
    """`body` in a process of its own, on the descriptors 1 and 2 of its own."""
    return subprocess.run(
        [sys.executable, *flags, "-c", _HEAD + body],
        env={**os.environ, "PYTHONPATH": _ROOT},
        text=True,
        timeout=60,
        check=False,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},  # type: ignore[call-overload]
    )


def test_results_alone_reach_standard_output() -> None:
    done = run(
        "print('before')\n"
        "noise.apart(); noise.apart()\n"
        "c_says('noise of C\\n')\n"
        "print('result', flush=True)\n"
        "subprocess.run(['echo', 'a child'])\n"
        "print('after')\n"
    )
    assert (done.returncode, done.stdout) == (0, "before\nresult\nafter\n")
    assert done.stderr.count("noise of C") == 2 and "a child" in done.stderr


def test_what_is_caught_is_told_once_in_a_line() -> None:
    done = run(
        "noise.apart(); noise.tell_by(lambda line: print('told:', line, file=sys.stderr))\n"
        "for subject in ('one', 'one', 'two'):\n"
        "    with noise.caught(subject):\n"
        "        with noise.caught('inner'):\n"
        "            c_says('first\\x1b[31m\\n'); c_says('second\\n', 2)\n"
        "        print('result', flush=True)\n"
        "with noise.caught('quiet'): pass\n"
        "with noise.caught('python') as printed: print('spoken', file=printed)\n"
    )
    assert done.stdout == "result\n" * 3
    assert done.stderr.splitlines() == [
        "told: one says: first\\x1b[31m (and 3 more lines)",
        "told: two says: first\\x1b[31m (and 3 more lines)",
        "told: python says: spoken",
    ]


def test_a_flood_is_neither_kept_nor_waited_for() -> None:
    done = run(
        "noise.apart(); noise.tell_by(lambda line: print(len(line), file=sys.stderr))\n"
        "with noise.caught('flood'):\n"
        "    for _ in range(20_000): libc.printf(b'x' * 1000 + b'\\n')\n"
    )
    assert done.returncode == 0 and int(done.stderr) < 300


def test_a_program_that_did_not_ask_keeps_its_descriptors() -> None:
    done = run("with noise.caught('a'): c_says('noise\\n')\nprint('result')")
    assert sorted(done.stdout.split()) == ["noise", "noise", "result"] and done.stderr == ""


def test_other_threads_speak_while_noise_is_caught() -> None:
    done = run(
        "noise.apart()\n"
        "def speak(): print('out', flush=True); print('err', file=sys.stderr)\n"
        "with noise.caught('a'):\n"
        "    thread = threading.Thread(target=speak); thread.start(); thread.join()\n"
        "    child = subprocess.run(['echo', 'piped'], stdout=subprocess.PIPE, text=True)\n"
        "print(child.stdout.strip())\n"
    )
    assert (done.stdout, done.stderr) == ("out\npiped\n", "err\n")


@pytest.mark.parametrize("end", ["os.abort()", "os.kill(os.getpid(), 11)"])
def test_who_dies_while_noise_is_caught_is_heard(end: str) -> None:
    done = run(
        f"noise.apart()\nprint('result', flush=True)\nwith noise.caught('a'): {end}",
        "-X",
        "faulthandler",
    )
    assert done.returncode < 0 and done.stdout == "result\n"
    assert "Fatal Python error" in done.stderr


def test_an_error_within_is_told_as_ever() -> None:
    done = run("noise.apart()\nwith noise.caught('a'): raise RuntimeError('within')")
    assert done.returncode == 1 and "RuntimeError: within" in done.stderr and done.stdout == ""


@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "1>&- 2>&-"])
def test_streams_that_somebody_closed(tmp_path: Path, closed: str) -> None:
    code = (
        "from edge_audiokv import noise\n"
        "noise.apart()\n"
        "with noise.caught('a'): pass\n"
        "open('ended', 'w').close()\n"
    )
    command = ["sh", "-c", f'"$0" -c "$1" {closed}', sys.executable, code]
    environment = {**os.environ, "PYTHONPATH": _ROOT}
    done = subprocess.run(command, cwd=tmp_path, env=environment, timeout=60, check=False)
    assert done.returncode == 0 and (tmp_path / "ended").exists()


@pytest.mark.parametrize("flags", [(), ("-u",)])
def test_lines_go_out_as_they_did(flags: tuple[str, ...]) -> None:
    done = run("noise.apart()\nprint('one\\ntwo')\nsys.stdout.write('end')", *flags)
    assert (done.stdout, done.stderr) == ("one\ntwo\nend", "")
