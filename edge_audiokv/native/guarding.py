"""What every native call goes through: one thread at a time, and numbers that fit.

llama.cpp's contexts are not made for two threads, and ctypes takes the low 32 bits of any number.
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

import numpy as np

from edge_audiokv.errors import NativeError
from edge_audiokv.kv.shape import IntArray

_LEAST, _MOST = -(2**31), 2**31 - 1

P = ParamSpec("P")
R = TypeVar("R")


class Lockable(Protocol):
    """What `exclusive` needs: a lock that its holder may take again."""

    lock: threading.RLock


S = TypeVar("S", bound=Lockable)


def exclusive(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Let one thread at a time into the methods of an object; the others wait."""

    @wraps(method)
    def alone(self: S, *args: P.args, **kwargs: P.kwargs) -> R:
        with self.lock:
            return method(self, *args, **kwargs)

    return cast(Callable[Concatenate[S, P], R], alone)


def int32(value: Any, name: str) -> int:
    """`value` as a whole number of 32 bits. Raises NativeError for anything else."""
    try:
        number = operator.index(value)
    except TypeError:
        raise NativeError(f"{name} must be a whole number, not {value!r}.") from None
    if not _LEAST <= number <= _MOST:
        raise NativeError(f"{name} is {number}, which does not fit 32 bits.")
    return number


def int32_array(values: Any, name: str) -> IntArray:
    """`values` as a contiguous int32 array. Raises NativeError if one is no such number."""
    try:
        given = np.asarray(values)
    except (OverflowError, ValueError):
        raise NativeError(f"{name} must be an array of whole numbers.") from None
    if given.size == 0:
        return np.zeros(given.shape, np.int32)
    if given.dtype.kind not in "iu":
        raise NativeError(f"{name} must be whole numbers that fit 32 bits, not {given.dtype}.")
    # Compared as Python's own numbers: a uint64 has no int64 beside it.
    if int(given.min()) < _LEAST or int(given.max()) > _MOST:
        raise NativeError(f"{name} hold numbers that do not fit 32 bits.")
    return np.ascontiguousarray(given, dtype=np.int32)
