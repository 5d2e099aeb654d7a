"""What a model takes of memory, found in processes of their own.

What asks has loaded and measured other things by then, which would count as the interpreter; and
each command holds other things.

    python -m edge_audiokv.cli.machine.smallest KIND < settings.json
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from typing import Any

from edge_audiokv import errors
from edge_audiokv.audio.endpoint import EndpointConfig
from edge_audiokv.engine.session import Session
from edge_audiokv.engine.session_settings import SessionSettings
from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.engine.transcriber import Transcriber
from edge_audiokv.errors import EdgeAudioKVError, MemoryBudgetError
from edge_audiokv.kv.memory import peak_rss_bytes

_MOST_S = 300
# As the commands cut speech by default.
_SEGMENT_S = 15.0
_LISTENING = SessionSettings(endpoint=EndpointConfig(max_segment_s=_SEGMENT_S))
# Modules that each kind of command holds, and what is loaded.
_SPEECH = ("edge_audiokv.cli.speech.transcribe", "edge_audiokv.cli.speech.listen")
_SERVER = tuple(
    f"edge_audiokv.{name}" for name in ("cli.speech.serve", "server.run", "server.events.door")
)


@dataclass(frozen=True)
class Smallest:
    """Megabytes from which a command works, and those from which its model's reader works, too; 0
    if there is none.
    """

    mb: int
    reads_mb: int


@dataclass(frozen=True)
class Loaded:
    """Bytes of a session that was loaded: its parts, what the cap leaves, and the peak."""

    parts: dict[str, int]
    slack_bytes: int
    peak_bytes: int


def smallest(engine: EngineSettings, kinds: list[str]) -> dict[str, Smallest]:
    """For each of `kinds` (transcribe, listen, microphone, serve); those that cannot be tried here
    are left out: a package or a microphone is missing.
    """
    children = {kind: _start(kind, engine) for kind in kinds}
    found = {}
    for kind, child in children.items():
        answer = _answer_of(child, engine)
        if answer is not None and "mb" in answer:
            found[kind] = Smallest(**answer)
    return found


def load(engine: EngineSettings) -> Loaded:
    """Load a session for real. Raises what it raises."""
    answer = _answer_of(_start("load", engine), engine)
    if answer is None:
        raise MemoryBudgetError(
            f"A session within mem={engine.mem!r} was ended from outside.",
            cure="Close other programs, or take a smaller cap.",
        )
    if "error" in answer:
        kind = getattr(errors, answer.pop("error"))
        raise kind(answer.pop("what"), **answer)
    return Loaded(**answer)


def _start(kind: str, engine: EngineSettings) -> subprocess.Popen[str] | None:
    try:
        # -P: what lies where we stand is nobody's module.
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "edge_audiokv.cli.machine.smallest", kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
    except OSError:
        return None
    return child


def _answer_of(
    child: subprocess.Popen[str] | None, engine: EngineSettings
) -> dict[str, Any] | None:
    """What a child says; None if it could not."""
    if child is None:
        return None
    with child:
        try:
            out, _ = child.communicate(json.dumps(asdict(engine)), timeout=_MOST_S)
            answer: dict[str, Any] = json.loads(out)
        except (OSError, ValueError, subprocess.SubprocessError):
            child.kill()
            return None
    return answer


def _refused(kind: str, engine: EngineSettings) -> dict[str, int]:
    """What the refusal of a cap that is far too small names."""
    load: Callable[[], object]
    if kind == "transcribe":
        transcriber = Transcriber(engine)
        load, runtime = transcriber.load, transcriber.runtime
    elif kind == "serve":
        from edge_audiokv.server.engines import Engines
        from edge_audiokv.server.limits import MICROPHONE_BYTES, REQUESTS_BYTES

        held_bytes = REQUESTS_BYTES + MICROPHONE_BYTES
        serving = Engines(engine, max_segment_s=_SEGMENT_S, held_bytes=held_bytes)
        load, runtime = serving.load, serving.runtime
    else:
        session = Session(engine, _LISTENING)
        load, runtime = session.load, session.runtime
    try:
        load()
    except MemoryBudgetError as error:
        reads_bytes = runtime.reads_from_bytes or 0
        if error.required_bytes:
            return {"mb": error.required_bytes // 1_000_000, "reads_mb": reads_bytes // 1_000_000}
    raise SystemExit(1)


def _loaded(engine: EngineSettings) -> dict[str, Any]:
    try:
        with Session(engine, _LISTENING) as session:
            report, plan = session.memory(), session.runtime.plan
    except EdgeAudioKVError as error:
        required = getattr(error, "required_bytes", None)
        more = {"required_bytes": required} if required else {}
        return {"error": type(error).__name__, "what": error.what, "cure": error.cure, **more}
    slack_bytes = plan.slack_bytes if plan is not None else 0
    parts = {name: int(size) for name, size in report.parts.items()}
    return {"parts": parts, "slack_bytes": slack_bytes, "peak_bytes": peak_rss_bytes()}


def _main(kind: str) -> None:
    engine = EngineSettings(**json.load(sys.stdin))
    # All that the commands themselves hold.
    for name in (*_SPEECH, *(_SERVER if kind == "serve" else ())):
        import_module(name)
    if kind == "microphone":
        from edge_audiokv.audio.live.microphone import MicrophoneSource

        MicrophoneSource().check()
    small = replace(engine, mem="1MB")
    print(json.dumps(_loaded(engine) if kind == "load" else _refused(kind, small)))


if __name__ == "__main__":
    _main(sys.argv[1])
