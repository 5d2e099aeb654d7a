"""The variables of a CTranslate2 `model.bin` (formats 4 to 6), read where they lie.

Nothing is taken on trust: sizes and names come from outside.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError

_DTYPES = {0: "<f4", 1: "i1", 2: "<i2", 3: "<i4", 4: "<f2"}
_MAX_VARIABLES, _MAX_RANK = 100_000, 8


class Variables:
    """Arrays by name, mapped from the file: what is not looked at takes no memory.

    Raises ModelError for a file that is none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._data = np.memmap(path, dtype=np.uint8, mode="r")
            self._found = dict(_entries(self._data))
        except (OSError, ValueError, OverflowError, struct.error, UnicodeDecodeError) as error:
            raise ModelError(
                f"{path} holds no CTranslate2 weights: {error}.",
                cure="Fetch it again or check the path.",
            ) from None

    def drop_pages(self) -> None:
        """Let the kernel have the pages back that were read; what is needed comes again."""
        mapped = getattr(self._data, "_mmap", None)
        if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)

    def __contains__(self, name: str) -> bool:
        return name in self._found

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __getitem__(self, name: str) -> NDArray[np.generic]:
        """The array of that name. Raises ModelError if there is none."""
        if name not in self._found:
            raise ModelError(
                f"{self.path} has no weights {name!r}.",
                cure="Take the weights that the graphs were made for.",
            )
        kind, shape, start, size = self._found[name]
        return self._data[start : start + size].view(kind).reshape(shape)


_Entry = tuple[str, tuple[int, ...], int, int]


def _entries(data: NDArray[np.uint8]) -> Iterator[tuple[str, _Entry]]:
    """Name -> dtype, shape, first byte and bytes."""
    at = 0

    def number(code: str) -> int:
        nonlocal at
        size = struct.calcsize(code)
        (value,) = struct.unpack("<" + code, data[at : at + size].tobytes())
        at += size
        return int(value)

    def text() -> str:
        nonlocal at
        size = number("H")
        if at + size > len(data):
            raise ValueError("it is cut short")
        at += size
        return data[at - size : at - 1].tobytes().decode()

    number("I"), text(), number("I")
    found: dict[str, _Entry] = {}
    for _ in range(_bounded(number("I"), _MAX_VARIABLES)):
        name = text()
        shape = tuple(number("I") for _ in range(_bounded(number("B"), _MAX_RANK)))
        kind, size = number("B"), number("I")
        if kind not in _DTYPES:
            raise ValueError(f"{name} has an unknown type ({kind})")
        if at + size > len(data) or math.prod(shape) * np.dtype(_DTYPES[kind]).itemsize != size:
            raise ValueError(f"{name} has another size than its shape")
        found[name] = (_DTYPES[kind], shape, at, size)
        at += size
    if at < len(data):
        for _ in range(_bounded(number("I"), _MAX_VARIABLES)):
            alias, name = text(), text()
            if name in found:
                found[alias] = found[name]
    yield from found.items()


def _bounded(count: int, most: int) -> int:
    if count > most:
        raise ValueError(f"it counts {count} where at most {most} make sense")
    return count
