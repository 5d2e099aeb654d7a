"""Who has the model next: live streams before other jobs, and among them who waited longest.

A turn is a step: a tenth of a second of live sound and what is written of it, an answer, or a
second of a file. Several may have theirs at once.
"""

from __future__ import annotations

import time
from collections import deque

from edge_audiokv.server.jobs import Job

# A live job without anything to do has a step after so long: its client may have left or gone
# quiet.
_TICK_S = 0.1
# Sound that waits for so long is late.
_BEHIND_S = 0.5
# How often a source is asked that cannot tell when sound has come.
_LOOK_S = 0.02


class Turns:
    """The jobs that have a session. One that is not live is served when no live one can be, nor
    is. Whoever calls has the lock.
    """

    def __init__(self) -> None:
        # Whose last turn is longest ago comes first.
        self._live: deque[Job] = deque()
        self._other: Job | None = None
        self._last_s: dict[Job, float] = {}
        # Those whose turn it is.
        self._at_work: set[Job] = set()

    @property
    def at_work(self) -> frozenset[Job]:
        return frozenset(self._at_work)

    @property
    def n_live(self) -> int:
        return len(self._live)

    def others_wait(self, job: Job) -> bool:
        """Has sound of another live one waited for longer than a turn takes?"""
        return any(other is not job and other.behind_s() > _BEHIND_S for other in self._live)

    @property
    def has_other(self) -> bool:
        return self._other is not None

    def add(self, job: Job) -> None:
        """At most one that is not live."""
        if job.live:
            self._live.appendleft(job)
            self._last_s[job] = 0.0
        else:
            self._other = job

    def remove(self, job: Job) -> None:
        if job is self._other:
            self._other = None
        else:
            self._live.remove(job)
            del self._last_s[job]

    def next(self) -> Job | None:
        """Whose turn it is now; None while nobody has anything to do."""
        now_s = time.monotonic()
        for job in self._live:
            if job in self._at_work:
                continue
            if job.ready() or now_s - self._last_s[job] >= _TICK_S:
                self._live.remove(job)
                self._live.append(job)
                self._at_work.add(job)
                return job
        if self._other is None or self._at_work:
            return None
        self._at_work.add(self._other)
        return self._other

    def over(self, job: Job) -> None:
        """Its turn is."""
        self._at_work.discard(job)
        if job in self._last_s:
            self._last_s[job] = time.monotonic()

    @property
    def wait_s(self) -> float | None:
        """How long to wait for news if nobody has anything to do; None for as long as it takes."""
        return _LOOK_S if self._live else None
