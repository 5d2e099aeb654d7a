"""The microphone as a server hears it: looked for anew each time, and heard until told to stop."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from edge_audiokv.audio.live.early import Early
from edge_audiokv.audio.source import SAMPLE_RATE_HZ, AudioSource, Samples
from edge_audiokv.events import Event
from edge_audiokv.server.live.arrivals import Arrivals

# What is worth a step, and how often a device is looked for that gives nothing.
_BLOCK_S, _LOOK_S = 0.1, 1.0
# Reads that wait have nothing left from before the end.
_LATE_S = 1.0
_RING_S = 10.0


class UntilTold(AudioSource):
    """`inner` until `end()`: what came before that is still given, and no more.

    `on_end` is called then, by the thread that reads. A read does not wait where `inner` says that
    it would have to.
    """

    def __init__(self, inner: AudioSource, on_end: Callable[[], None]) -> None:
        super().__init__()
        self._inner = inner
        self._on_end = on_end
        self._began_s: float | None = None
        self._ended_s: float | None = None
        self._waited_s = 0.0
        self._looked_s = 0.0
        self.arrivals = Arrivals()

    def describe(self) -> str:
        return self._inner.describe()

    def open(self) -> None:
        self._inner.open()
        self.realtime = self._inner.realtime
        if self._began_s is None:
            self._began_s = time.monotonic()

    def close(self) -> None:
        self._inner.close()

    def end(self) -> None:
        """From any thread. Ending twice does nothing."""
        if self._ended_s is None:
            self._ended_s = time.monotonic()

    @property
    def is_ready(self) -> bool:
        """Is there anything to read, or the end?"""
        waiting_s = self._inner.waiting_s
        return self._ended_s is not None or waiting_s is None or waiting_s >= _BLOCK_S

    @property
    def behind_s(self) -> float:
        """Seconds of sound that wait, as far as that is known."""
        return self._inner.waiting_s or 0.0

    def _read(self, max_samples: int) -> Samples | None:
        if self._ended_s is None or self._began_s is None:
            return self._next(max_samples)
        due_samples = int((self._ended_s - self._began_s - self.clock_s) * SAMPLE_RATE_HZ)
        # After a gap less has come than is due: then waiting tells that this was all.
        if due_samples < 1 or self._waited_s > _LATE_S:
            self._on_end()
            return None
        asked_s = time.monotonic()
        samples = self._noted(self._inner.read(min(max_samples, due_samples)))
        self._waited_s += time.monotonic() - asked_s
        return samples

    def _next(self, max_samples: int) -> Samples | None:
        """What waits; a device that has gone is looked for only now and then."""
        now_s = time.monotonic()
        if self._inner.waiting_s == 0 and now_s - self._looked_s < _LOOK_S:
            return np.zeros(0, np.float32)
        self._looked_s = now_s
        return self._noted(self._inner.read(max_samples))

    def _noted(self, samples: Samples | None) -> Samples | None:
        """`samples`, of which it is kept when they came."""
        if samples is not None and len(samples):
            # What still waits came after it.
            came_s = time.monotonic() - self.behind_s
            self.arrivals.note(self.clock_s + len(samples) / SAMPLE_RATE_HZ, came_s)
        return samples

    def take_events(self) -> list[Event]:
        """The inner source's news."""
        return self._inner.take_events()


def microphone(device: str | int | None) -> AudioSource:
    """The machine's microphone, of those that are there now; what is said while the model is busy
    is kept.
    """
    # Imported when it is wanted: the rest works without PortAudio.
    from edge_audiokv.audio.live.microphone import MicrophoneSource
    from edge_audiokv.audio.live.portaudio import PortAudio

    system = PortAudio()

    class Fresh(MicrophoneSource):
        """A server runs for days, and PortAudio lists devices when it starts."""

        def open(self) -> None:
            if self.device is None:
                system.restart()
            super().open()

    return Early(Fresh(device, ring_s=_RING_S, system=system))
