"""A loaded model with places for sessions: they share weights and encoder, and divide one cap.

What a session has to itself is its place: what the voice detector heard, the cache of its segments,
a memory, and the words that it may be asked for. All places are equally large. The ledger of the
runtime counts all of them.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from edge_audiokv.audio.endpoint import Endpointer
from edge_audiokv.audio.vad import VoiceDetector
from edge_audiokv.engine.memory.session_memory import (
    SessionCaches,
    SessionNeeds,
    load_audio,
    open_session_caches,
)
from edge_audiokv.engine.recall.opening import open_recording
from edge_audiokv.engine.runtime import Runtime
from edge_audiokv.engine.session_settings import SessionSettings
from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.errors import InputError, MemoryBudgetError
from edge_audiokv.kv.holders import LOADING
from edge_audiokv.kv.memory import SLACK_SHARE, SPREAD_SHARE
from edge_audiokv.lifetime import Loadable
from edge_audiokv.models.download import Progress

if TYPE_CHECKING:
    from edge_audiokv.archive.recording import Recording


@dataclass(eq=False)
class Place:
    """What one session has to itself."""

    detector: VoiceDetector
    caches: SessionCaches
    recording: Recording | None

    def clear(self) -> None:
        """Nothing of what was heard stays."""
        for cache in (self.caches.scratch, self.caches.memory):
            cache.clear()
        self.detector.reset()
        if self.recording is not None:
            self.recording.forget()

    def close(self) -> None:
        self.caches.close()
        if self.recording is not None:
            self.recording.close()
        self.detector.close()


class Room(Loadable):
    """`n_places` sessions of these settings can be in it at once; an archive has one.
    `beside_bytes` is what each after the first brings along that is counted elsewhere.

    Places are taken and left by any thread. Sessions may work at the same time, each in a thread of
    its own: they divide the cores, and take turns with the encoder.
    """

    def __init__(
        self,
        engine: EngineSettings,
        settings: SessionSettings,
        n_places: int = 1,
        *,
        beside_bytes: int = 0,
        progress: Progress | None = None,
    ) -> None:
        if n_places < 1:
            raise InputError(f"A room has no {n_places} places.", cure="Use 1 or more.")
        if n_places > 1 and settings.archive is not None:
            raise InputError("An archive is written by one session.", cure="Leave archive= out.")
        self.engine, self.settings, self.n_places = engine, settings, n_places
        self.runtime = Runtime(
            engine,
            max_window_s=settings.endpoint.max_segment_s,
            progress=progress,
            owner="session",
        )
        self._beside_bytes = beside_bytes
        self._lock = threading.RLock()
        self._places: list[Place] = []
        self._free: list[Place] = []

    def load(self) -> Self:
        """Load the model and allocate all that its sessions will ever need.

        Raises MemoryBudgetError with the sum, the smallest cap, and how many sessions fit;
        ModelError, DownloadError or PolicyError.
        """
        with self._lock:
            if not self._places:
                with LOADING:
                    self._load()
        return self

    def _load(self) -> None:
        runtime, settings, n = self.runtime, self.settings, self.n_places
        recalls = settings.recall and runtime.find().entry.prompt.asks
        longest_s = settings.endpoint.max_segment_s
        needs = SessionNeeds.of(runtime, longest_s, settings.placement, recalls=recalls)
        recordings: list[Recording | None] = [None] * n
        try:
            with self._telling_how_many_fit(needs):
                runtime.load(**needs.for_loading(n))
                if recalls or settings.archive is not None:
                    recordings = [open_recording(settings.archive, runtime) for _ in range(n)]
                    opened = [recording for recording in recordings if recording is not None]
                    runtime.ledger.add(
                        "archive", lambda: sum(recording.nbytes for recording in opened)
                    )
                # The sound of open segments is the only other part that takes real space.
                detector = VoiceDetector()
                buffer_bytes = Endpointer(detector, settings.endpoint).nbytes
                load_audio(runtime, detector, n * buffer_bytes)
                caches = open_session_caches(runtime, needs, n)
        except BaseException:
            for recording in filter(None, recordings):
                recording.close()
            self.close()
            raise
        detectors = [detector, *(detector.twin() for _ in range(n - 1))]
        self._places = [Place(*parts) for parts in zip(detectors, caches, recordings, strict=True)]
        self._free = self._places[::-1]
        runtime.ledger.settle()

    @contextmanager
    def _telling_how_many_fit(self, needs: SessionNeeds) -> Iterator[None]:
        try:
            yield
        except MemoryBudgetError as error:
            required_bytes = error.required_bytes
            if self.n_places == 1 or required_bytes is None:
                raise
            short_bytes = required_bytes - self.engine.cap_bytes
            each_bytes = needs.session_bytes + self._beside_bytes * (1 + SLACK_SHARE)
            fit = self.n_places - math.ceil(short_bytes / (each_bytes * (1 + SPREAD_SHARE)))
            raise MemoryBudgetError(
                error.what,
                cure=f'Use mem="{required_bytes // 1_000_000}MB" or more for {self.n_places} '
                f"sessions; this one holds {max(0, fit) or 'none'}.",
                required_bytes=required_bytes,
            ) from None

    def enter(self) -> Place:
        """An empty place; loads if nothing is loaded. RuntimeError if all are taken."""
        with self._lock:
            self.load()
            if not self._free:
                raise RuntimeError(f"all {self.n_places} places are taken")
            return self._free.pop()

    def leave(self, place: Place) -> None:
        """Give a place back. One of a room that was closed since is gone."""
        with self._lock:
            if place in self._places:
                place.clear()
                self._free.append(place)

    def close(self) -> None:
        """Give everything back, once no session is at work."""
        with self._lock:
            places, self._places, self._free = self._places, [], []
            for place in places:
                place.close()
            self.runtime.close()
