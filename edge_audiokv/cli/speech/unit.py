"""A systemd user unit that runs `edge-audiokv serve --events`."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

from edge_audiokv.errors import (
    EdgeAudioKVError,
    InputError,
    MemoryBudgetError,
    MissingExtraError,
    ModelError,
    PolicyError,
)
from edge_audiokv.models.cache import cache_directory

# What would fail again at once.
_FOR_GOOD = (InputError, ModelError, MemoryBudgetError, PolicyError, MissingExtraError)
_IN_VAIN = [2, *(kind.exit_code for kind in _FOR_GOOD)]

# Namespaces and read-only folders are left alone: without root they hide the groups that own a
# microphone. Memory that is written and run is what ctypes and onnxruntime work with. All that
# loading a model and listening call (strace) is in @system-service.
_UNIT = """\
[Unit]
Description=edge-audiokv: speech to text and answers, on this machine
After=pipewire.service pulseaudio.service

[Service]
Type=exec
ExecStart={command}
{environment}\
Restart=on-failure
RestartSec=5
RestartPreventExitStatus={in_vain}
SuccessExitStatus=129 130 143
UMask=0077
NoNewPrivileges=yes
LockPersonality=yes
RestrictNamespaces=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM

[Install]
WantedBy=default.target
"""


def unit_text(options: Iterable[str]) -> str:
    """The unit, whose ExecStart is this command's absolute path. Raises click's UsageError for what
    `serve` does not understand, and EdgeAudioKVError for what a unit cannot hold.
    """
    words = ["serve", *options]
    serve = import_module("edge_audiokv.cli.speech.serve").serve
    understood = serve.make_context("edge-audiokv serve", words[1:])
    if understood.params["events"] is None:
        words.append("--events")
    command = " ".join(_quoted(word) for word in [*_program(), *words])
    environment = ""
    if "EDGE_AUDIOKV_CACHE" in os.environ:
        setting = f"EDGE_AUDIOKV_CACHE={cache_directory().absolute()}"
        environment = f"Environment={_quoted(setting, is_command=False)}\n"
    in_vain = " ".join(map(str, _IN_VAIN))
    return _UNIT.format(command=command, environment=environment, in_vain=in_vain)


def _program() -> list[str]:
    """What runs now, as it can be run from anywhere."""
    called = sys.argv[0]
    found = shutil.which(called)
    if found is not None and Path(found).stem == "edge-audiokv":
        return [os.path.abspath(found)]
    return [sys.executable, "-P", "-m", "edge_audiokv"]


def _quoted(word: str, *, is_command: bool = True) -> str:
    """A word as systemd reads it: no specifier, no variable, no escape of its own."""
    if any(not char.isprintable() for char in word):
        raise EdgeAudioKVError(f"{word!r} cannot stand in a unit.", cure="Leave it out.")
    text = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    if is_command:
        text = text.replace("$", "$$")
    plain = text == word and word and all(char.isalnum() or char in "/._-=:,+@" for char in word)
    return word if plain else f'"{text}"'
