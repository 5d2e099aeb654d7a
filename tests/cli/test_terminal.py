"""What a person sees: results alone are left on the screen, whatever went over it meanwhile."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from .screen import Terminal

COLOURS = re.compile(rb"\x1b\[(?:[0-9;]*;)?(?:3[0-8]|4[0-8]|9[0-7])(?:;[0-9;]*)?m")
pytestmark = [pytest.mark.integration, pytest.mark.alone]


@pytest.mark.parametrize(
    ("columns", "variables", "options"),
    [
        (40, {}, []),
        (80, {"TERM": "dumb"}, []),
        (200, {"NO_COLOR": "1"}, []),
        (80, {}, ["--no-color"]),
    ],
)
def test_results_stand_alone_on_the_screen(
    spoken, columns: int, variables: dict[str, str], options: list[str]
) -> None:
    paths = [spoken[name].path for name in ("letter", "garden")]
    with Terminal("transcribe", *paths, *options, columns=columns, **variables) as terminal:
        assert terminal.finish() == 0
        assert terminal.modes == terminal.modes_before
    text = " ".join("".join(f"{line:<{columns}}" for line in terminal.lines).split())
    heard = text.split()
    assert heard[:2] == ["He", "wrote"] and "opened" in heard
    # No bar, no name of a file, no time left: nothing but words.
    assert all(word.rstrip(".").isalpha() for word in heard), terminal.lines
    if variables.get("TERM") == "dumb":
        assert b"\x1b" not in terminal.raw
    assert bool(COLOURS.search(terminal.raw)) == (not variables and not options)


PIPED = "subprocess.run(shlex.join(sys.argv[1:]) + ' | cat', shell=True)"
BEHIND = "subprocess.run(sys.argv[1:], process_group=0)"


@pytest.mark.parametrize("run", [PIPED, BEHIND])
def test_nothing_moves_where_others_write(spoken, run: str) -> None:
    """What reads the pipe writes to the same screen; so does who has it in the foreground."""
    paths = [str(spoken[name].path) for name in ("letter", "garden")]
    code = f"import shlex, subprocess, sys; sys.exit({run}.returncode)"
    argv = [sys.executable, "-c", code, sys.executable, "-m", "edge_audiokv", "transcribe", *paths]
    with Terminal(argv=argv) as terminal:
        assert terminal.finish() == 0
        heard = " ".join("".join(f"{row:<80}" for row in terminal.lines).split()).split()
    assert heard[:2] == ["He", "wrote"] and "opened" in heard
    assert all(word.rstrip(".").isalpha() for word in heard), terminal.lines
    assert b"\x1b" not in terminal.raw


@pytest.mark.parametrize("command", [["models", "show"], ["doctor", "--no-mic", "-m", "none"]])
def test_rows_with_paths_fit_eighty_columns(command: list[str]) -> None:
    cache = "/nowhere/" + "c" * 18  # the longest path below it fills a line
    with Terminal(*command, lines=60, EDGE_AUDIOKV_CACHE=cache) as terminal:
        terminal.finish()
        lines = terminal.lines
    assert any(cache in line for line in lines)
    # Where this checkout lies may be too long for any row.
    checkout = str(Path(__file__).parents[2])
    assert all(len(line) < 80 or checkout[:20] in line for line in lines), lines


def test_a_document_is_whole_above_the_bars(spoken) -> None:
    paths = [spoken[name].path for name in ("letter", "garden")]
    with Terminal("transcribe", *paths, "-f", "json", columns=80) as terminal:
        assert terminal.finish() == 0
        document = json.loads("".join(f"{line:<80}" for line in terminal.lines))
    assert document["complete"] and len(document["segments"]) == len(document["files"]) == 2


def test_help_fits_the_terminal() -> None:
    for columns in (40, 80):
        with Terminal("transcribe", "--help", columns=columns) as terminal:
            assert terminal.finish() == 0
        assert b"Common options:" in terminal.raw
        assert all(len(line) <= columns for line in terminal.raw.decode().splitlines()[:3])


@pytest.mark.parametrize(("columns", "term"), [(40, "xterm"), (80, "dumb"), (120, "xterm")])
def test_no_word_is_cut(spoken, tmp_path, columns: int, term: str) -> None:
    missing = tmp_path / "x"
    commands: list[list[object]] = [
        ["transcribe", missing, "--mem", "1GB"],
        ["policies", "snapkw"],
        ["transcribe", spoken["letter"].path, "-v"],
        ["listen", spoken["letter"].path, "--no-color"],
        ["models", "list"],
    ]
    for command in commands:
        with Terminal(*command, columns=columns, lines=80, TERM=term) as terminal:
            terminal.finish()
            lines = terminal.lines
        for line in lines:
            # The last column stays free of what we wrote; a path alone may run on.
            assert len(line) < columns or "/" in line, (command, line)


BARS = """
from edge_audiokv.cli import voice
from edge_audiokv.models.progress import progress_bar
voice.use(voice.Voice(level=1))
with progress_bar(voice.console(), loading="a model") as report:
    for name in ("verify a long name of an encoder.onnx", "fetch another long name.gguf"):
        for done in range(11):
            report(name, done * 100_000_000, 1_000_000_000)
            time.sleep(0.05)
    voice.warn("something")
"""


def test_what_is_told_beside_bars_stands_above_them_and_they_are_gone_at_the_end() -> None:
    with Terminal(argv=[sys.executable, "-c", f"import time{BARS}"], columns=80) as terminal:
        assert terminal.finish() == 0
        lines = terminal.lines
    assert [line.partition("] ")[2] or line for line in lines] == [
        "models: verify a long name of an encoder.onnx: 953.7 MiB",
        "models: fetch another long name.gguf: 953.7 MiB",
        "warning: something",
    ]
    assert b"verify a long name" in terminal.raw
