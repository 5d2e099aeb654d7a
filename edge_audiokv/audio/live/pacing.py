"""Let a fast source play at the pace of life, as a microphone would."""

from __future__ import annotations

from edge_audiokv.audio.source import SAMPLE_RATE_HZ, AudioSource, Clock, Samples, SystemClock
from edge_audiokv.events import Event


class Paced(AudioSource):
    """Gives each sample of `source` no earlier than its own time after `open()`.

    A reader that falls behind gets the sound at once, as fast as it can take it.
    """

    realtime = True

    def __init__(self, source: AudioSource, clock: Clock | None = None) -> None:
        super().__init__()
        self._source = source
        self._clock = clock or SystemClock()
        self._start_s: float | None = None

    def describe(self) -> str:
        return self._source.describe()

    def open(self) -> None:
        self._source.open()
        if self._start_s is None:
            self._start_s = self._clock.now()

    def _read(self, max_samples: int) -> Samples | None:
        samples = self._source.read(max_samples)
        if samples is not None and self._start_s is not None:
            due_s = self._start_s + self.clock_s + len(samples) / SAMPLE_RATE_HZ
            wait_s = due_s - self._clock.now()
            if wait_s > 0:
                self._clock.sleep(wait_s)
        return samples

    def take_events(self) -> list[Event]:
        return self._source.take_events()

    def close(self) -> None:
        self._source.close()
        self._start_s = None
