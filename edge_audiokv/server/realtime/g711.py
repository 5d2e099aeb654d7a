"""Telephone sound (G.711) to 16-bit PCM: a byte is a sample, so a table of 256 is all it takes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_BYTES = np.arange(256)


def _mu_law() -> NDArray[np.int16]:
    """G.711 mu-law: inverted bits; sign, three bits of exponent, four of mantissa; a bias of 33."""
    bits = ~_BYTES & 0xFF
    exponent, mantissa = bits >> 4 & 7, bits & 15
    size = ((mantissa << 3) + 132 << exponent) - 132
    return np.where(bits & 0x80, -size, size).astype("<i2")


def _a_law() -> NDArray[np.int16]:
    """G.711 A-law: every other bit inverted; the lowest exponent has no leading one."""
    bits = _BYTES ^ 0x55
    exponent, mantissa = bits >> 4 & 7, bits & 15
    low = (mantissa << 4) + 8
    size = np.where(exponent == 0, low, low + 256 << np.maximum(exponent - 1, 0))
    return np.where(bits & 0x80, size, -size).astype("<i2")


_TABLES = {"audio/pcmu": _mu_law(), "audio/pcma": _a_law()}


def to_pcm(data: bytes, kind: str) -> bytes:
    """16-bit little-endian samples of `data`, whose format is `kind`; PCM is let through."""
    table = _TABLES.get(kind)
    return data if table is None else table[np.frombuffer(data, np.uint8)].tobytes()
