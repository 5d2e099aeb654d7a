"""How many threads encoder and LLM take when nobody names a number, and when others work, too."""

from __future__ import annotations

import threading
from types import TracebackType

import psutil

MAX_THREADS = 4


def default_threads() -> int:
    """The physical cores that this process may use, 1 to 4.

    Threads of one decode meet some 900 times a token. So two on one core only wait for each other,
    and so do more than four, as the models are small; cores beyond them serve other programs.
    """
    cores = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    # macOS has no affinity.
    if hasattr(psutil.Process, "cpu_affinity"):
        cores = min(cores, len(psutil.Process().cpu_affinity()))
    return max(1, min(cores, MAX_THREADS))


def usable_cores() -> int:
    """The cores, virtual ones too, that this process may use."""
    cores = psutil.cpu_count() or 1
    if hasattr(psutil.Process, "cpu_affinity"):
        cores = min(cores, len(psutil.Process().cpu_affinity()))
    return max(1, cores)


class Callers:
    """Who computes at this moment: each `with callers:` is one, on whatever thread.

    Callers share the machine's cores: threads of one computation that wait for each other lose more
    by being interrupted than they gain by being many.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n = 0

    def __enter__(self) -> None:
        with self._lock:
            self._n += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._lock:
            self._n -= 1

    def share(self, n_threads: int) -> int:
        """What each may take of `n_threads` now: at least 1."""
        return max(1, n_threads // max(1, self._n))
