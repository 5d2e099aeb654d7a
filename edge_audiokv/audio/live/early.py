"""Sound that comes before anybody can hear it is kept: a model loads for seconds, people speak."""

from __future__ import annotations

import threading
from collections import deque

import numpy as np

from edge_audiokv.audio.source import SAMPLE_RATE_HZ, AudioSource, Samples
from edge_audiokv.events import Event

_BLOCK_SAMPLES = SAMPLE_RATE_HZ // 10


class Early(AudioSource):
    """From `open()` to the first `read()` a thread keeps up to `max_s` of a live `inner`.

    Then that is given first, and what `inner` has to say after it. What does not fit stays where
    it is: in the ring of a microphone, in a pipe. Sources that wait for their reader are only
    handed on.
    """

    def __init__(self, inner: AudioSource, max_s: float = 30.0) -> None:
        super().__init__()
        self.inner = inner
        self._max_samples = int(max_s * SAMPLE_RATE_HZ)
        self._blocks: deque[Samples] = deque()
        self._n_kept = 0
        self._over = False
        self._error: Exception | None = None
        self._wanted = threading.Event()
        self._thread: threading.Thread | None = None

    def describe(self) -> str:
        return self.inner.describe()

    def open(self) -> None:
        if self._thread is not None:
            return
        self.inner.open()
        self.realtime = self.inner.realtime
        self._wanted.clear()
        self._over, self._error = False, None
        if self.realtime:
            self._thread = threading.Thread(target=self._keep, name="early sound", daemon=True)
            self._thread.start()

    def _keep(self) -> None:
        while not self._wanted.is_set() and self._n_kept + _BLOCK_SAMPLES <= self._max_samples:
            try:
                samples = self.inner.read(_BLOCK_SAMPLES)
            except Exception as error:  # the reader's, who raises it in its place
                self._error = error
                return
            if samples is None:
                self._over = True
                return
            if len(samples):
                self._blocks.append(samples)
                self._n_kept += len(samples)

    def _read(self, max_samples: int) -> Samples | None:
        self._end_keeping()
        if self._blocks:
            samples = self._blocks.popleft()
            if len(samples) > max_samples:
                self._blocks.appendleft(samples[max_samples:])
                samples = samples[:max_samples]
            self._n_kept -= len(samples)
            return samples
        error, self._error = self._error, None
        if error is not None:
            raise error
        return None if self._over else self.inner.read(max_samples)

    @property
    def waiting_s(self) -> float | None:
        """The inner source's, and what is kept."""
        inner_s = self.inner.waiting_s
        return None if inner_s is None else inner_s + self._n_kept / SAMPLE_RATE_HZ

    def _end_keeping(self) -> None:
        if not self._wanted.is_set():
            self._wanted.set()
            if self._thread is not None:
                self._thread.join()  # a read of a live source waits a tenth of a second at most

    def take_events(self) -> list[Event]:
        """The inner source's news."""
        return self.inner.take_events()

    def close(self) -> None:
        self._end_keeping()
        self._thread = None
        self._blocks.clear()
        self._n_kept = 0
        self.inner.close()

    @property
    def nbytes(self) -> int:
        """Bytes of sound held now."""
        return self._n_kept * np.dtype(np.float32).itemsize
