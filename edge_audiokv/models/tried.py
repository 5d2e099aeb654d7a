"""Try a model's file in a process of its own first, so that nothing in it can end ours.

What passed is remembered in the cache by a name of its content, so a file pays once.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from ..errors import EdgeAudioKVError, ModelError
from .cache import cache_directory, write_atomic

TIMEOUT_S = 120.0
MAX_REMEMBERED = 256
# Address space beside the files: Python, numpy and what loads them, with room to spare.
_SPARE_BYTES = 8 << 30


def has_passed(name: str) -> bool:
    """True if `remember(name)` was called on this machine."""
    return name in _remembered()


def remember(name: str) -> None:
    """Note that what `name` stands for has passed."""
    with contextlib.suppress(OSError):  # a cache that cannot be written only costs time
        kept = [*_remembered(), name][-MAX_REMEMBERED:]
        write_atomic(_path(), json.dumps(kept, indent=1).encode())


def run_child(
    module: str,
    arguments: list[str],
    subject: Path,
    *,
    kind: str,
    reason: Callable[[str, int], str],
) -> None:
    """Run `python -m MODULE ARGUMENTS...`, which ends with `answer()`, on behalf of `subject`.

    Raises ModelError with what it refused, or with `reason(words, code)` if it died; `kind` is what
    `subject` is called in the cure.
    """
    try:
        child = subprocess.run(
            # -P: what lies where we stand is nobody's module.
            [sys.executable, "-P", "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_S,
            env={**os.environ, "GGML_NO_BACKTRACE": "1", "PYTHONWARNINGS": "ignore"},
        )
    except subprocess.TimeoutExpired:
        raise _unusable(subject, f"it was not loaded within {TIMEOUT_S:.0f} s", kind) from None
    if child.returncode == 0:
        return
    said = child.stdout.decode("utf-8", "replace").strip()
    if child.returncode == 1 and said.startswith("{"):
        told = json.loads(said.splitlines()[-1])
        raise ModelError(told["what"], cure=told["cure"])
    words = child.stderr.decode("utf-8", "replace")
    raise _unusable(subject, reason(words, child.returncode), kind)


def answer(paths: list[Path], work: Callable[[], object]) -> int:
    """In the child: do `work` within bounds, and say on standard output what is refused."""
    bound(paths)
    try:
        work()
    except EdgeAudioKVError as error:
        print(json.dumps({"what": error.what, "cure": error.cure}))
        return 1
    except MemoryError:
        what = f"{paths[0]} asks for too much memory."
        print(json.dumps({"what": what, "cure": "Take another."}))
        return 1
    return 0


def bound(paths: list[Path]) -> None:
    """No memory without end, no processor time without end, no core dump; where there is POSIX."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        most_bytes = _SPARE_BYTES + 4 * sum(path.stat().st_size for path in paths)
        resource.setrlimit(resource.RLIMIT_AS, (most_bytes, most_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (int(TIMEOUT_S), int(TIMEOUT_S) + 5))


def _unusable(subject: Path, why: str, kind: str) -> ModelError:
    return ModelError(
        f"{subject} cannot be used: {why}.", cure=f"Fetch it again, or take another {kind}."
    )


def _path() -> Path:
    return cache_directory() / "probed.json"


def _remembered() -> list[str]:
    try:
        names = json.loads(_path().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return []
    if not isinstance(names, list):
        return []
    return [name for name in names if isinstance(name, str)]
