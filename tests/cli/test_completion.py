"""What Tab offers, asked of click, and of a real bash."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import BashComplete

import edge_audiokv
from edge_audiokv.cli.completion import PROGRAM, VARIABLE
from edge_audiokv.cli.main import COMMANDS, cli
from edge_audiokv.kv.policy import policies
from edge_audiokv.models import catalog
from edge_audiokv.output import FORMATS

TYPES = ["f16", "q8_0", "q4_0"]
MODELS = [entry.name for entry in catalog.list_models()]


def offered(*words: str) -> list[str]:
    """The values that are offered for the last word."""
    *before, incomplete = words
    complete = BashComplete(cli, {}, PROGRAM, VARIABLE)
    return [item.value for item in complete.get_completions(before, incomplete)]


@pytest.mark.parametrize(
    ("words", "values"),
    [
        ([""], list(COMMANDS)),
        (["tr"], ["transcribe"]),
        (["policies", ""], list(policies())),
        (["policies", "snap"], ["snapkv"]),
        (["transcribe", "a.wav", "--kv-policy", "audiokv"], ["audiokv", "audiokv-edge"]),
        (["listen", "-f", ""], list(FORMATS)),
        (["transcribe", "--format", "js"], ["json", "jsonl"]),
        (["ask", "-ctk", ""], TYPES),
        (["doctor", "--cache-type-v", "q"], ["q8_0", "q4_0"]),
        (["eval", "w"], ["wer", "words"]),
        (["models", "s"], ["show"]),
        (["completion", ""], ["bash", "zsh", "fish"]),
    ],
)
def test_values(words, values) -> None:
    assert sorted(offered(*words)) == sorted(values)


@pytest.mark.parametrize(
    "words",
    [
        *(["transcribe", "-m"], ["listen", "--model"], ["calibrate", "-m"], ["pull"]),
        *(["models", "show"], ["models", "pull"], ["models", "rm"]),
    ],
)
def test_models_are_those_of_the_catalog_and_folders_here(words, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sounds").mkdir()
    Path("my-model").mkdir()
    Path("my-model/model.toml").touch()
    # A shell would run the one and read the other as two.
    for name in ("evil$(touch pwned)", "new\nline", "esc\x1b[31m"):
        Path(name).mkdir()
        Path(name, "model.toml").touch()
    assert offered(*words, "") == [*MODELS, "./my-model"]
    assert offered(*words, "my") == ["./my-model"]
    assert offered(*words, MODELS[0][:3]) == MODELS[:1]
    # A path is the shell's to complete.
    assert offered(*words, "./so") == ["./so"]


def test_options_are_offered_with_their_help() -> None:
    assert "--kv-policy" in offered("transcribe", "--kv")
    assert {"--quiet", "--verbose", "--no-color"} <= {*offered("models", "list", "--")}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_every_shell(call, shell) -> None:
    ran = call("completion", shell)
    assert (ran.code, ran.err) == (0, "")
    assert VARIABLE in ran.out and PROGRAM in ran.out


def test_another_shell_is_refused_with_the_choices(call) -> None:
    ran = call("completion", "tcsh")
    assert ran.code == 2 and "'bash', 'zsh', 'fish'" in ran.complaint


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_a_real_bash_completes(tmp_path: Path) -> None:
    program = tmp_path / PROGRAM
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m edge_audiokv "$@"\n')
    program.chmod(0o755)
    script = f"""
        eval "$({PROGRAM} completion bash)"
        ask() {{
            COMPREPLY=() COMP_WORDS=({PROGRAM} "$@") COMP_CWORD=$#
            _edge_audiokv_completion {PROGRAM}
            echo "${{COMPREPLY[*]}}"
        }}
        complete -p {PROGRAM} >/dev/null || exit 1
        ask transcribe --kv-policy snap
        ask listen -f js
    """
    ran = subprocess.run(
        ["bash", "--norc", "-c", script],
        cwd=tmp_path,
        env={
            **os.environ,
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "PYTHONPATH": str(Path(edge_audiokv.__file__).resolve().parents[1]),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines() == ["snapkv", "json jsonl"]
