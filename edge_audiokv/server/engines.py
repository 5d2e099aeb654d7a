"""The engines of a server: sessions that share a loaded model and divide its cap."""

from __future__ import annotations

from dataclasses import replace
from typing import Self

from edge_audiokv.audio.endpoint import EndpointConfig
from edge_audiokv.engine.room import Room
from edge_audiokv.engine.runtime import Runtime
from edge_audiokv.engine.session import Session
from edge_audiokv.engine.session_settings import SessionSettings
from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.kv.holders import Holding
from edge_audiokv.kv.memory import rss_bytes
from edge_audiokv.lifetime import Loadable
from edge_audiokv.models.download import Progress
from edge_audiokv.server.engine import SessionEngine
from edge_audiokv.server.limits import LIVE_BYTES, REQUESTS_BYTES


class Engines(Loadable):
    """`sessions` engines. `held_bytes` is what clients may make the server hold beside the live
    ones after the first. `load()` raises what a Room's does.
    """

    def __init__(
        self,
        settings: EngineSettings,
        *,
        max_segment_s: float,
        sessions: int = 1,
        held_bytes: int = REQUESTS_BYTES,
        progress: Progress | None = None,
    ) -> None:
        listening = SessionSettings(
            partial_interval_s=0.0,
            report_interval_s=0.0,
            endpoint=EndpointConfig(max_segment_s=max_segment_s),
        )
        # Subtitles and words want times; whether a request does is known too late.
        engine = replace(settings, word_timestamps=True)
        self._room = Room(engine, listening, sessions, beside_bytes=LIVE_BYTES, progress=progress)
        self.all = [SessionEngine(Session(room=self._room)) for _ in range(sessions)]
        self._requests = Holding("requests", engine=False)
        self._held_bytes = held_bytes + (sessions - 1) * LIVE_BYTES

    @property
    def runtime(self) -> Runtime:
        """What they share."""
        return self._room.runtime

    def load(self) -> Self:
        # What clients may make the server hold is a part of the cap like any other.
        self._requests.settle(self._held_bytes, rss_bytes())
        self._room.load()
        for engine in self.all:
            engine.load()
        return self

    def close(self) -> None:
        for engine in self.all:
            engine.session.close()
        self._room.close()
        self._requests.release()
