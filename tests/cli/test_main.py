"""The table of commands is true, and mistakes end with a line and the right exit code."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from edge_audiokv.cli.main import COMMANDS, cli, main


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_loads_and_has_help_with_an_example(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "Usage: edge-audiokv" in text
    assert "Example" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_summaries_begin_as_the_commands_own_help_does(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    own = (command.help or "").split()
    assert COMMANDS[name][2].split()[:3] == own[:3]


@pytest.mark.parametrize("words", [["ask", "x.flac"], ["transcribe"], ["archive", "search"]])
def test_what_is_missing_comes_with_an_example(
    capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    err = capsys.readouterr().err
    assert ended.value.code == 2 and err.count("\n") == 1
    assert f"For example: edge-audiokv {words[0]} " in err


def test_an_unknown_command_lists_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["lisen"])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert "listen" in error
    assert "transcribe" in error


@pytest.mark.parametrize(
    ("words", "meant", "other"),
    [
        (["transcrbe", "x.flac"], "Did you mean transcribe?", "listen?"),
        (["models", "lst"], "Did you mean list? The commands are: check, convert, list, ", "show?"),
        (["transcribe", "x.flac", "--fromat", "srt"], "Did you mean --format?", "--raw"),
        (["eval", "wer", "--manifst", "x"], "Did you mean --manifest?", "'"),
    ],
)
def test_what_is_misspelt_has_one_that_is_meant(
    capsys: pytest.CaptureFixture[str], words: list[str], meant: str, other: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    err = capsys.readouterr().err
    assert ended.value.code == 2 and err.count("\n") == 1
    assert meant in err and other not in err.partition("Did you")[2]


def test_help_is_quick_because_nothing_heavy_is_imported() -> None:
    code = (
        "import sys\n"
        "from edge_audiokv.cli.main import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit:\n    pass\n"
        "heavy = {'onnxruntime', 'scipy', 'numpy', 'soundfile', 'rich'} & set(sys.modules)\n"
        "print(sorted(heavy), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "Commands:" in done.stdout
    assert done.stderr.strip() == "[]"
