"""What every source of sound looks like to the rest: 16 kHz mono float32, read in pieces."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from edge_audiokv.events import Event

SAMPLE_RATE_HZ = 16_000
Samples = NDArray[np.float32]

# A source that nobody asks for its news must not grow: the oldest are forgotten.
_MAX_EVENTS = 64


class Clock(Protocol):
    """Time as sources see it, so that tests need not wait."""

    def now(self) -> float:
        """Seconds from any fixed start, never going back."""

    def sleep(self, duration_s: float) -> None: ...


class SystemClock:
    """The machine's own monotonic clock."""

    def now(self) -> float:
        return time.monotonic()

    def sleep(self, duration_s: float) -> None:
        time.sleep(duration_s)


class AudioSource(ABC):
    """A stream of samples in [-1, 1].

    Use: `with source: ...` or `open()`, `read()` until None, `close()`. The constructor touches
    nothing; `open()` may raise InputError or DeviceError. One thread reads.
    `realtime` says that sound arrives at its own pace, so that an empty read is no end.
    """

    realtime = False

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=_MAX_EVENTS)
        self._delivered_samples = 0

    @abstractmethod
    def open(self) -> None:
        """Get ready to read. Opening an open source does nothing."""

    @abstractmethod
    def _read(self, max_samples: int) -> Samples | None: ...

    @abstractmethod
    def close(self) -> None:
        """Let everything go. Closing twice does nothing."""

    def read(self, max_samples: int = SAMPLE_RATE_HZ // 10) -> Samples | None:
        """The next samples, float32 [S], S <= `max_samples`; None at the end.

        Only a realtime source returns an empty array: nothing has arrived yet.
        """
        if max_samples < 1:
            raise ValueError(f"max_samples must be at least 1, not {max_samples}")
        samples = self._read(max_samples)
        if samples is not None:
            self._delivered_samples += len(samples)
        return samples

    def describe(self) -> str:
        """What people call it: a file's path, the microphone's name."""
        return str(getattr(self, "name", "")) or "sound"

    @property
    def waiting_s(self) -> float | None:
        """Seconds of sound that a read need not wait for; None for a source that cannot tell."""
        return None

    @property
    def clock_s(self) -> float:
        """Seconds of sound delivered so far."""
        return self._delivered_samples / SAMPLE_RATE_HZ

    def take_events(self) -> list[Event]:
        """What happened since the last call (Warned, DeviceLost, ...), oldest first."""
        taken = []
        while self._events:
            taken.append(self._events.popleft())
        return taken

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
