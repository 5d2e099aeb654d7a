"""Conversions of one checkpoint that end in the midst of a phase, each in a process of its own.

    python killing.py CHECKPOINT TARGET '[["kill", "write the encoder", {...}], ...]'

The options are `convert`'s. After each a line of JSON is printed: the phases, what is left beside
TARGET, what of it is done, and whether TARGET is there. torch is loaded once, before they fork.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from edge_audiokv.families import checks, export  # noqa: F401  (they load what is slow)
from edge_audiokv.families.convert import convert
from edge_audiokv.families.table import read


def main(checkpoint: Path, target: Path, runs: list[tuple[str, str, dict[str, Any]]]) -> None:
    torch.set_num_threads(1)
    for how, phase, options in runs:
        phases = target.with_name("phases")
        phases.write_text("")
        pid = os.fork()
        if pid == 0:
            os.setsid()
            try:
                _convert(checkpoint, target, phases, how, phase, options)
            except KeyboardInterrupt:
                os._exit(130)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # what it had started
        left = sorted(target.parent.glob(f".{target.name}.*.part"))
        journals = [
            json.loads((part / "done.json").read_text())
            for part in left[:1]
            if (part / "done.json").is_file()
        ]
        told = {
            "code": os.waitstatus_to_exitcode(status),
            "phases": list(dict.fromkeys(phases.read_text().splitlines())),
            "left": [part.name for part in left],
            "done": [name for journal in journals for name in journal["steps"]],
            "made": target.exists(),
        }
        print(json.dumps(told), flush=True)


def _convert(
    checkpoint: Path, target: Path, phases: Path, how: str, phase: str, options: dict[str, Any]
) -> None:
    def watch(what: str, done: int, total: int) -> None:
        with phases.open("a") as stream:
            stream.write(f"{what}\n")
        if what == phase and how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == phase:
            raise KeyboardInterrupt

    convert(read(checkpoint), target, progress=watch, **options)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]))
