"""Whatever a program may hold sound in, as a source."""

from __future__ import annotations

from os import PathLike
from typing import BinaryIO

import numpy as np

from edge_audiokv.audio.array import ArraySource
from edge_audiokv.audio.files.file import FileSource
from edge_audiokv.audio.intake import Pcm
from edge_audiokv.audio.source import SAMPLE_RATE_HZ, AudioSource
from edge_audiokv.errors import InputError

Sound = AudioSource | str | PathLike[str] | BinaryIO | Pcm


def as_source(sound: Sound, rate_hz: int = SAMPLE_RATE_HZ) -> AudioSource:
    """`sound` if it is a source, else one of it; `rate_hz` is that of arrays and bytes.

    Raises InputError if it is none of them.
    """
    if isinstance(sound, AudioSource):
        return sound
    if isinstance(sound, str | PathLike):
        return FileSource(sound)
    if isinstance(sound, np.ndarray | bytes | bytearray | memoryview):
        return ArraySource(sound, rate_hz)
    if hasattr(sound, "read"):
        return FileSource(sound)
    raise InputError(
        f"{sound!r} is no source of sound.",
        cure="Give a path, an open file, an array, bytes of 16-bit mono, or an AudioSource.",
    )
