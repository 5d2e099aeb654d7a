"""How many threads encoder and LLM take when nobody names a number."""

from __future__ import annotations

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
