"""The smallest `--mem` for a model, found in a process of its own.

What asks has loaded and measured other things by then, which would count as the interpreter.

    python -m edge_audiokv.cli.machine.smallest < settings.json
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from importlib import import_module
from typing import Any

from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.errors import MemoryBudgetError

_MOST_S = 300


def smallest_mb(engine: EngineSettings) -> tuple[int, int] | None:
    """Megabytes that transcribing takes, which decodes longer stretches, and that listening,
    asking and serving take; None where no process can tell.
    """
    try:
        # -P: what lies where we stand is nobody's module.
        done = subprocess.run(
            [sys.executable, "-P", "-m", "edge_audiokv.cli.machine.smallest"],
            input=json.dumps(asdict(engine)),
            capture_output=True,
            text=True,
            timeout=_MOST_S,
            check=True,
        )
        transcribing, listening = map(int, done.stdout.split())
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return transcribing, listening


def _refused_mb(make: Callable[[EngineSettings], Any], engine: EngineSettings) -> int:
    try:
        make(replace(engine, mem="1MB")).load()
    except MemoryBudgetError as error:
        if error.required_bytes:
            return error.required_bytes // 1_000_000
    raise SystemExit(1)


def _answer() -> None:
    engine = EngineSettings(**json.load(sys.stdin))
    # All that the commands themselves hold.
    for name in ("transcribe", "listen"):
        import_module(f"edge_audiokv.cli.speech.{name}")
    from edge_audiokv.engine.session import Session
    from edge_audiokv.engine.transcriber import Transcriber

    print(_refused_mb(Transcriber, engine), _refused_mb(Session, engine))


if __name__ == "__main__":
    _answer()
