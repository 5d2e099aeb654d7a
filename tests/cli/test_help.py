"""Every command's help: options in groups, examples that work, nothing wider than 80 columns."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from edge_audiokv.cli.command import HEADINGS
from edge_audiokv.cli.main import cli

FEW = 8


def walk(
    command: click.Command = cli, path: tuple[str, ...] = ()
) -> Iterator[tuple[str, click.Command]]:
    yield " ".join(path) or "edge-audiokv", command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from walk(child, (*path, name))


COMMANDS = dict(walk())
FOLDERS = ("recordings/", "esc10", "esc10/audio", "sounds/")


def help_of(command: click.Command, columns: int = 78) -> str:
    """As a terminal of 80 columns has it: click leaves two free."""
    context = command.context_class(command, terminal_width=columns, **cli.context_settings)
    return command.get_help(context)


def examples_of(text: str) -> list[str]:
    """The last section of a help, a command each: lines that go on are joined."""
    _, _, last = text.rpartition("\nExamples:\n")
    lines = re.sub(r"(\\|(?<=\|))\n\s*", " ", last).splitlines()
    return [line.strip() for line in lines]


def ours(example: str) -> list[list[str]]:
    """The words of each call of edge-audiokv in a line of shell, without variables before it."""
    inner = re.findall(r"\$\((.*)\)", example)
    parts = re.split(r" \| | > ", inner[0] if inner else example)
    words = [shlex.split(part) for part in parts]
    called = [part[next((i for i, w in enumerate(part) if "=" not in w), 0) :] for part in words]
    return [part[1:] for part in called if part and part[0] == "edge-audiokv"]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_and_ends_with_examples_that_parse(name, tmp_path: Path, monkeypatch) -> None:
    text = help_of(COMMANDS[name])
    assert max(map(len, text.splitlines())) <= 80
    assert not re.search(r"\w-$", text, re.MULTILINE), "no name is broken at its hyphen"
    _, _, commands = text.partition("\nCommands:\n")
    assert "..." not in commands.partition("\n\n")[0], "no summary is cut"
    examples = examples_of(text)
    assert 2 <= len(examples) <= 3
    monkeypatch.chdir(tmp_path)
    for folder in FOLDERS:
        Path(folder).mkdir(parents=True, exist_ok=True)
    found = []
    for example in examples:
        calls = ours(example)
        # Another program may call what `serve` serves.
        assert len(calls) == 1 or example.startswith("curl "), example
        for word in [word for call in calls for word in call]:
            if "." in word and not word.startswith("-") and " " not in word:
                Path(word).parent.mkdir(parents=True, exist_ok=True)
                Path(word).touch()
        found += map(parsed, calls)
    assert name == "edge-audiokv" or any(name in path for path in found)


def parsed(words: list[str]) -> str:
    """Parse without running; the name of the command. Raises UsageError if it does not parse."""
    command: click.Command = cli
    context = cli.make_context("edge-audiokv", [*words], resilient_parsing=True)
    path: list[str] = []
    while isinstance(command, click.Group):
        child = command.get_command(context, words[0])
        assert child is not None, words
        path.append(words[0])
        command, words = child, words[1:]
    command.make_context(path[-1], [*words], parent=click.Context(cli))
    return " ".join(path)


def test_examples_that_do_not_parse_are_found() -> None:
    with pytest.raises(click.UsageError):
        parsed(["transcribe", "talk.flac", "--no-such-option"])
    with pytest.raises(AssertionError):
        parsed(["transcripe", "talk.flac"])


@pytest.mark.parametrize("name", COMMANDS)
def test_many_options_come_in_groups_with_the_common_first(name) -> None:
    command = COMMANDS[name]
    text = help_of(command)
    n_options = sum(isinstance(param, click.Option) for param in command.params) + 1  # --help
    headings = re.findall(r"(?m)^([A-Z][a-z ]+):$", text)
    shown = [heading for heading in headings if heading in HEADINGS]
    if n_options <= FEW:
        assert "Options" in headings and not shown
        return
    assert shown == [heading for heading in HEADINGS if heading in shown]
    assert shown[0] == "Common options" and len(shown) >= 3
    for param in command.params:
        if isinstance(param, click.Option):
            assert re.search(rf"(?m)^  .*{max(param.opts, key=len)}\b", text), param


def test_every_option_says_what_it_does() -> None:
    for name, command in COMMANDS.items():
        for param in command.params:
            if isinstance(param, click.Option):
                assert param.help, (name, param.opts)


def test_headings_name_options_that_there_are() -> None:
    there = {opt for command in COMMANDS.values() for item in command.params for opt in item.opts}
    assert {opt for group in HEADINGS.values() for opt in group} <= there


def test_every_command_has_the_voice_s_options() -> None:
    for name, command in COMMANDS.items():
        options = {opt for param in command.params for opt in param.opts}
        assert {"-q", "--quiet", "-v", "--verbose", "--no-color"} <= options, name
