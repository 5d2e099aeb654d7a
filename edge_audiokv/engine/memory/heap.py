"""Keep the C heap from holding on to memory that the program has given back.

glibc raises its mmap threshold up to 32 MB as large arrays come and go, and then keeps their
memory in the heap; with one arena a thread it keeps several. Under a cap on resident memory both
are lost bytes. Elsewhere than glibc these do nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from functools import cache

# Parameters of mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_LARGE_BYTES = 512 << 10


@cache
def bound_heap() -> None:
    """Arrays of half a MiB and more go back to the kernel when freed; two arenas at most."""
    with contextlib.suppress(OSError, AttributeError):
        libc = _libc()
        libc.mallopt(_MMAP_THRESHOLD, _LARGE_BYTES)
        libc.mallopt(_TRIM_THRESHOLD, 2 * _LARGE_BYTES)
        libc.mallopt(_ARENA_MAX, 2)


def trim_heap() -> None:
    """Give back what is free in the heap now."""
    with contextlib.suppress(OSError, AttributeError):
        _libc().malloc_trim(0)


@cache
def _libc() -> ctypes.CDLL:
    if sys.platform != "linux":
        raise OSError("not glibc")
    return ctypes.CDLL(None)
