"""Who hears a programme that is played: a session here, or one that a server has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from edge_audiokv.audio.source import Samples
from edge_audiokv.engine.session import Session
from edge_audiokv.events import Answer, Event, Final
from edge_audiokv.kv.memory import anonymous_rss_bytes, peak_rss_bytes, rss_bytes


@dataclass(frozen=True)
class Books:
    """Where the bytes are now, and how many rows the memory has."""

    rss_bytes: int
    anonymous_bytes: int
    ledger_bytes: int
    rows: int


@dataclass(frozen=True)
class Totals:
    """What has come of it so far; `guarded` are texts that the guard stepped in for."""

    peak_rss_bytes: int
    shifts: int
    evictions: int
    freed_bytes: int
    guarded: int


class Listener(Protocol):
    """`longest_s` is the longest segment; texts come at most that much and some silence late."""

    cap_bytes: int
    longest_s: float

    def feed(self, samples: Samples) -> Sequence[Final]:
        """Hear float32 [S] at 16 kHz, as fast as it can be heard; the texts that were final."""

    def finish(self) -> Sequence[Final]:
        """The sound is over: the last texts."""

    def ask(self, question: str) -> Answer:
        """What is answered from what was heard."""

    def books(self) -> Books: ...

    def totals(self) -> Totals: ...


class SessionListener:
    """A session of this process."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.cap_bytes = session.engine.cap_bytes
        self.longest_s = session.settings.endpoint.max_segment_s
        self._guarded = 0

    def feed(self, samples: Samples) -> Sequence[Final]:
        return self._finals(self.session.feed(samples, live=False))

    def finish(self) -> Sequence[Final]:
        return self._finals(self.session.finish())

    def ask(self, question: str) -> Answer:
        return self.session.ask(question)

    def _finals(self, events: Sequence[Event]) -> list[Final]:
        finals = [event for event in events if isinstance(event, Final)]
        self._guarded += sum(bool(final.flags) for final in finals)
        return finals

    def books(self) -> Books:
        return Books(
            rss_bytes(),
            anonymous_rss_bytes(),
            sum(self.session.runtime.ledger.parts().values()),
            int(self.session.caches.memory.context.counts.sum()),
        )

    def totals(self) -> Totals:
        stats = self.session.caches.memory.stats
        return Totals(
            peak_rss_bytes(), stats.shifts, stats.evictions, stats.freed_bytes, self._guarded
        )
