"""-q, -v and --no-color: one way to be silent, and to tell more, for every command."""

from __future__ import annotations

import io
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

import edge_audiokv
from edge_audiokv.cli import voice
from edge_audiokv.cli.command import Command, Group
from edge_audiokv.cli.machine.doctor import _variables
from edge_audiokv.cli.main import cli
from edge_audiokv.cli.voice import Voice
from edge_audiokv.events import Answer, Final, Stalled, Warned


@click.group(cls=Group)
def top() -> None:
    pass


@top.command(cls=Command)
def speak() -> None:
    voice.error("it broke.")
    voice.warn("it is\x1b[2J odd.")
    voice.note("it is so.")
    voice.detail("it is done")
    voice.table(["  a table"])
    logging.getLogger("edge_audiokv.native").info("a line of a library")
    logging.getLogger("edge_audiokv.native").debug("a number of a library")
    click.echo("the result")


@pytest.fixture(autouse=True)
def _as_before():
    yield
    voice.use(Voice())


def said(*words: str, **environment: str) -> tuple[str, list[str]]:
    ran = CliRunner().invoke(top, words, env=environment, auto_envvar_prefix="EDGE_AUDIOKV")
    assert ran.exit_code == 0, ran.output
    lines = [re.sub(r"^\[ *\d+\.\d\d s\] ", "[] ", line) for line in ran.stderr.splitlines()]
    return ran.stdout, lines


ERROR, WARNING, NOTE = "edge-audiokv: it broke.", r"warning: it is\x1b[2J odd.", "it is so."
DETAILS = ["[] it is done", "  a table", "[] native: a line of a library"]
DEBUG = "[] native: a number of a library"


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (["speak"], [ERROR, WARNING, NOTE]),
        (["speak", "-q"], [ERROR]),
        (["-q", "speak"], [ERROR]),
        (["speak", "-v"], [ERROR, WARNING, NOTE, *DETAILS]),
        (["-v", "speak"], [ERROR, WARNING, NOTE, *DETAILS]),
        (["speak", "--verbose", "--verbose"], [ERROR, WARNING, NOTE, *DETAILS, DEBUG]),
        (["-v", "speak", "-v"], [ERROR, WARNING, NOTE, *DETAILS, DEBUG]),
        (["-q", "speak", "-v"], [ERROR, WARNING, NOTE]),
    ],
)
def test_levels(words, lines) -> None:
    assert said(*words) == ("the result\n", lines)


def test_the_environment_counts_and_the_next_command_begins_anew() -> None:
    assert said("speak", EDGE_AUDIOKV_QUIET="1")[1] == [ERROR]
    assert said("speak", EDGE_AUDIOKV_VERBOSE="1")[1] == [ERROR, WARNING, NOTE, *DETAILS]
    assert said("speak")[1] == [ERROR, WARNING, NOTE]


def test_doctor_knows_the_variables() -> None:
    names = _variables(click.Context(cli))
    assert {"EDGE_AUDIOKV_QUIET", "EDGE_AUDIOKV_VERBOSE", "EDGE_AUDIOKV_NO_COLOR"} <= {*names}


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def drawn(stream: io.StringIO) -> str:
    voice.console(stream).print("red", style="red")
    return stream.getvalue()


def test_no_color_reaches_the_console(monkeypatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b[31m" in drawn(Screen())
    assert drawn(io.StringIO()) == "red\n"
    voice.use(Voice(color=False))
    assert "\x1b[31m" not in drawn(Screen())
    voice.use(Voice())
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[31m" not in drawn(Screen())
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert drawn(Screen()) == "red\n"


def test_bold_is_for_terminals_that_know_it(monkeypatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert not voice.may_style()
    monkeypatch.setattr(sys, "stdout", Screen())
    assert voice.may_style()
    voice.use(Voice(color=False))
    assert not voice.may_style()
    voice.use(Voice())
    monkeypatch.setenv("TERM", "dumb")
    assert not voice.may_style()
    monkeypatch.setattr(sys, "stdout", None)
    assert not voice.may_style()


def test_quiet_consoles_are_quiet_on_stderr_alone(monkeypatch) -> None:
    voice.use(Voice(level=-1))
    assert voice.console().quiet
    assert not voice.console(sys.stdout).quiet
    monkeypatch.setattr(sys, "stderr", None)
    voice.use(Voice())
    assert voice.console().quiet


def test_of_a_session_only_text_is_shown_when_quiet() -> None:
    events = [Final(0, 0.0, 1.0, "hello"), Answer("who?", "he", 1.0)]
    others = [Warned(1.0, "odd"), Stalled(1.0, 2.0)]
    assert all(map(voice.shows, [*events, *others]))
    voice.use(Voice(level=-1))
    assert [voice.shows(event) for event in [*events, *others]] == [True, True, False, False]


@pytest.mark.integration
@pytest.mark.usefixtures("local_model")
@pytest.mark.parametrize("name", ["transcribe", "listen"])
def test_quiet_leaves_errors_alone(call, name, tmp_path) -> None:
    silence = tmp_path / "a.wav"
    soundfile.write(silence, np.zeros(16_000), 16_000)
    ran = call(name, silence, "-q", "-f", "text")
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    missing = call(name, tmp_path / "none.wav", "-q")
    assert missing.code == 3 and "none.wav" in missing.complaint


@pytest.mark.parametrize(
    ("words", "code"),
    [(("transcribe", "nothere.flac"), 3), (("transcribe", "--nope"), 2), (("models", "list"), 0)],
)
def test_whether_anybody_reads_stderr_decides_nothing(words, code: int, tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "edge_audiokv", "-v", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=write,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(edge_audiokv.__file__).parents[1])},
        timeout=120,
    )
    os.close(write)
    assert done.returncode == code


def test_what_libraries_log_steers_no_terminal(capsys) -> None:
    voice.use(Voice(level=2))
    logging.getLogger("edge_audiokv.native").debug("general.name = a\x1b[2Jb\nc")
    err = capsys.readouterr().err
    assert "a\\x1b[2Jb c" in err and "\x1b" not in err
