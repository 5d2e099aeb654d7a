"""Every error that edge_audiokv raises on purpose, and the exit code each one gives.

    EdgeAudioKVError                 1
    +-- InputError                   3   the audio cannot be read or used
    +-- ModelError                   4   a model file is missing, damaged or unfit for its partners
    |   +-- UnfitModelError          4   the model is whole, but cannot do what is asked of it
    +-- DownloadError                5   a model could not be fetched or verified
    +-- MemoryBudgetError            6   --mem cannot hold what was asked for
    +-- DeviceError                  7   no microphone, or it went away
    +-- NativeError                  8   the llama.cpp library is missing, old, or refused a call
    |   +-- CacheFullError           8   a head has no row left for the next token
    +-- PolicyError                  9   unknown policy, bad option, profile of another model
    +-- OutputError                 10   a result could not be written
    +-- MissingExtraError           11   an optional package is not installed
    +-- ArchiveError                12   an archive is damaged, in use, or none
    +-- ParityError                 13   a converted model is not what its checkpoint says
    +-- WorseError                  14   what was measured is above a limit that was given

Exit code 2 is click's (wrong usage); 129, 130 and 143 follow SIGHUP, SIGINT and
SIGTERM.
Each message says what happened; `cure` says what to do about it.
"""

from __future__ import annotations

from edge_audiokv.units import clipped, printable

# What was typed or fetched may stand in a message, and have any length.
MOST_CHARS = 2000


class EdgeAudioKVError(Exception):
    """Root of the tree. `str(error)` is one line: what happened, then the cure."""

    exit_code = 1

    def __init__(self, what: str, *, cure: str = "") -> None:
        self.what = clipped(printable(what), MOST_CHARS)
        self.cure = clipped(printable(cure), MOST_CHARS)
        super().__init__(f"{self.what} {self.cure}".strip())


class InputError(EdgeAudioKVError):
    exit_code = 3


class ModelError(EdgeAudioKVError):
    exit_code = 4


class UnfitModelError(ModelError):
    """Another model can: this one does not know the language, or only transcribes."""


class DownloadError(EdgeAudioKVError):
    exit_code = 5


class MemoryBudgetError(EdgeAudioKVError):
    """`required_bytes` is the smallest cap that would work, if it is known."""

    exit_code = 6

    def __init__(self, what: str, *, cure: str = "", required_bytes: int | None = None) -> None:
        super().__init__(what, cure=cure)
        self.required_bytes = required_bytes


class DeviceError(EdgeAudioKVError):
    exit_code = 7


class NativeError(EdgeAudioKVError):
    """`code` is the native return value where there is one."""

    exit_code = 8

    def __init__(self, what: str, *, cure: str = "", code: int | None = None) -> None:
        super().__init__(what, cure=cure)
        self.code = code


class CacheFullError(NativeError):
    """A head is full: evict (`keep`) or truncate before the next decode."""


class PolicyError(EdgeAudioKVError):
    exit_code = 9


class OutputError(EdgeAudioKVError):
    exit_code = 10


class MissingExtraError(EdgeAudioKVError):
    exit_code = 11


class ArchiveError(EdgeAudioKVError):
    exit_code = 12


class ParityError(EdgeAudioKVError):
    exit_code = 13


class WorseError(EdgeAudioKVError):
    exit_code = 14
