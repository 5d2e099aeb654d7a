"""What README.md tells people to type works, and prints what it shows."""

from __future__ import annotations

import io
import json
import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest

from edge_audiokv.cli.main import cli
from edge_audiokv.cli.options import variables
from edge_audiokv.errors import EdgeAudioKVError
from edge_audiokv.events import Answer, Final, Word
from edge_audiokv.output.json import JsonWriter

FACTS = ("model", "quantisation", "language")
ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.S)


def commands() -> list[list[str]]:
    """Every command of the bash blocks, split into words."""
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    # `eval "$(a command)"` runs it; where its text goes is the shell's affair.
    lines = [re.sub(r'^eval "\$\((.*)\)"$|^(.*) > \S+$', r"\1\2", line) for line in lines]
    parts = [part for line in lines for part in re.split(r"\s*(?:&&|\|)\s*", line)]
    return [words for part in parts if (words := shlex.split(part, comments=True))]


OURS = [words[1:] for words in commands() if words[0] == "edge-audiokv"]

# Listening needs a microphone and never ends; tests/cli/speech/test_listen*.py do it.
RUN = [words for words in OURS if words[0] != "listen"]


def test_there_are_commands_and_the_scripts_exist() -> None:
    assert len(OURS) >= 5
    others = [words for words in commands() if words[0] != "edge-audiokv"]
    # Made by the first command, for all that follow.
    assert others[0] == ["scripts/install"]
    assert others.pop(1) == ["source", ".venv/bin/activate"]
    assert "venv=${VENV:-.venv}" in (ROOT / "scripts/install").read_text(encoding="utf-8")
    for words in others:
        script = ROOT / words[0]
        assert script.is_file() and script.stat().st_mode & 0o100, words


@pytest.mark.parametrize("words", OURS, ids=" ".join)
def test_every_command_is_understood(words: list[str]) -> None:
    command: click.Command = cli
    context = click.Context(cli, info_name="edge-audiokv")
    while isinstance(command, click.Group):
        found = command.get_command(context, words[0])
        assert found is not None, words
        command, words = found, words[1:]
    command.make_context("edge-audiokv", list(words))


def test_what_installing_takes_is_said_alike() -> None:
    """In README.md, in the help of scripts/install, and in the package itself."""
    script = (ROOT / "scripts/install").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needs = README.partition("## Try it")[2].partition("```")[0]
    version = project["requires-python"].removeprefix(">=")
    assert f"Python {version} or newer" in needs and f"({version} or newer)" in script
    (minutes,) = re.findall(r"about (\w+) minutes", needs)
    assert re.findall(r"about\n# (\w+) minutes", script) == [minutes]


def test_one_form_of_the_command_throughout() -> None:
    assert not re.findall(r"\S*/bin/edge-audiokv|python3? -m edge_audiokv", README)
    assert README.index("source .venv/bin/activate") < README.index("edge-audiokv transcribe")


def test_the_keys_of_results_are_told() -> None:
    told = README.partition("Results for machines:")[2].partition("Each option")[0]
    keys = {*re.findall(r"`([a-z_]+)`", told)}
    sink = io.StringIO()
    with JsonWriter(sink) as writer:
        writer.about, writer.facts = {"file": "a"}, dict.fromkeys(FACTS)
        writer.write(Final(0, 0.0, 1.0, "a", (), (Word("a", 0.0, 1.0),), 1.0))
        writer.write(Answer("b?", "c", 2.0))
        writer.heard("a", 1.0)
    document = json.loads(sink.getvalue())
    records = [*document["segments"], *document["segments"][0]["words"], *document["answers"]]
    assert {key for record in (document, *records, *document["files"]) for key in record} <= keys


def test_every_variable_is_read() -> None:
    context = click.Context(cli, info_name="edge-audiokv")
    read = {"EDGE_AUDIOKV_CACHE", "EDGE_AUDIOKV_OFFLINE"}
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        read.update(variables(command))
    named = set(re.findall(r"EDGE_AUDIOKV_[A-Z_]+", README))
    assert len(named) >= 4
    assert named <= read


@pytest.mark.integration
@pytest.mark.usefixtures("local_model")
@pytest.mark.parametrize("words", RUN, ids=" ".join)
def test_every_command_runs_as_written(command, tmp_path, words) -> None:
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    if words[0] == "archive":  # of a file that the command before it makes
        (making,) = [other for other in RUN if other[0] != "archive" and words[2] in other]
        assert command(*making).code == 0
    ran = command(*words)
    assert ran.code == 0, ran
    assert ran.out or (tmp_path / "talk.srt").stat().st_size


@pytest.mark.integration
@pytest.mark.usefixtures("local_model")
def test_the_picture_is_what_the_first_command_prints(command, tmp_path) -> None:
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    ran = command(*OURS[0])
    (picture,) = blocks("text")

    def labels(text: str) -> list[str]:
        """What stands before the numbers, which differ from machine to machine."""
        lines = [line for line in text.splitlines() if line.strip()]
        found = [re.match(r"\s*([A-Za-z ]+?)(?=\s{2,}|\s\d|$)", line) for line in lines]
        return [match[1] for match in found if match]

    text, _, shown = picture.partition("\n")
    assert labels(ran.err) == labels(shown)
    assert len(set(ran.out.split()) & set(text.split())) >= 8


def test_what_fits_where_is_what_the_command_prints(command) -> None:
    asked, _, printed = next(
        block.partition("\n")
        for block in blocks("console")
        if block.startswith("$ edge-audiokv models plan\n")
    )
    ran = command(*asked.split()[2:])
    assert ran.out.strip() == printed.strip()


def test_exit_codes_are_those_of_the_errors() -> None:
    told = {int(code) for code in re.findall(r"(?m)^\| (\d+) \|", README)}
    kinds = EdgeAudioKVError.__subclasses__()
    assert {1, *(kind.exit_code for kind in kinds)} <= told
    assert all(f"{code} " in (cli.help or "").replace(",", " ") for code in sorted(told))
