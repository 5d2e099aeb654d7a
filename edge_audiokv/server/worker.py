"""The threads that have the model, and the desk in front of them.

The desk is asked before a body is read: with one job running and `queue` waiting, the next client
is sent away at once. A place is kept from then until the job has ended. A live client, or a
microphone that is listened to, has a session to itself, and jobs one after another have one that is
left. Nobody waits for a live one to end: nobody knows how long that would be.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from edge_audiokv.errors import (
    DeviceError,
    EdgeAudioKVError,
    InputError,
    MissingExtraError,
    UnfitModelError,
)
from edge_audiokv.server.engine import Engine
from edge_audiokv.server.faults import ApiError, busy, occupied, stopping
from edge_audiokv.server.jobs import Cancelled, Job
from edge_audiokv.server.live.turns import Turns

log = logging.getLogger("edge_audiokv.server")
# When to ask again while live clients have all sessions.
_LIVE_RETRY_S = 30
# Before any job has shown how long one takes.
_FIRST_JOB_S = 2.0
_MAX_RETRY_S = 120
# A step (a second of sound and what is written of it) that takes longer has got stuck.
STALLED_S = 60.0


@dataclass(frozen=True)
class _Turn:
    """A job's next step, and what its engine is told before it."""

    job: Job
    engine: Engine
    n_live: int
    others_wait: bool


class Worker:
    """Runs jobs step by step, each in one of `engines`, which share a model: live ones by turns,
    and where they leave time the others, one by one, in the order in which they were submitted.
    With `n_threads` as many sessions work at the same time.
    """

    def __init__(self, engines: Sequence[Engine], *, queue: int, n_threads: int = 1) -> None:
        self.engines = list(engines)
        self.places = queue + 1
        self.busy_total = 0
        self.jobs_total = 0
        self.job_seconds_total = 0.0
        # Places of jobs that are taken, and how many live clients there are.
        self._n_jobs = self.n_live = 0
        self._waiting: deque[Job] = deque()
        self._engines: dict[Job, Engine] = {}
        self._turns = Turns()
        self._changed = threading.Condition()
        self._listening = self._refusing = self._ending = False
        # Engines whose last job failed in them.
        self._broken: set[Engine] = set()
        self._job_s = _FIRST_JOB_S
        n_threads = max(1, min(n_threads, len(self.engines)))
        self._threads = [
            threading.Thread(target=self._work, name=f"model {number}", daemon=True)
            for number in range(n_threads)
        ]

    # --- the desk: on the event loop --------------------------------------------------------------

    def enter(self) -> None:
        """Take a place for a job. Raises ApiError 429 or 503, with the seconds to wait."""
        with self._changed:
            if self._lets_in(self._n_jobs < self.places and self._n_free > 0):
                self._n_jobs += 1
                return
        raise self._sent_away()

    def enter_live(self, *, listens: bool = False) -> None:
        """Take a session for a live client. One that `listens` to the microphone may wait for the
        session of the jobs, as another of them might. Raises as `enter` does.
        """
        with self._changed:
            most = self.places if listens else 1
            if self._lets_in(self._n_free > 1 or (self._n_free == 1 and self._n_jobs < most)):
                self.n_live += 1
                self._listening = self._listening or listens
                return
        raise self._sent_away()

    def leave(self) -> None:
        """Give a job's place back, on whatever thread it has ended."""
        with self._changed:
            self._n_jobs -= 1

    def leave_live(self, *, listens: bool = False) -> None:
        """Give a live client's session back."""
        with self._changed:
            self.n_live -= 1
            self._listening = self._listening and not listens

    @property
    def _n_free(self) -> int:
        """Sessions that no live client has."""
        return len(self.engines) - self.n_live

    @property
    def takes_live(self) -> bool:
        """Would a live client be let in now?"""
        return self._n_free > 1 or (self._n_free == 1 and not self._n_jobs)

    def _lets_in(self, has_room: bool) -> bool:
        if self._refusing:
            raise stopping()
        self.busy_total += not has_room
        return has_room

    def _sent_away(self) -> ApiError:
        if self._n_free:
            # One place becomes free when the running job ends.
            return busy(max(1, min(_MAX_RETRY_S, math.ceil(self._job_s))))
        if self._listening:
            return occupied(_LIVE_RETRY_S)
        return busy(_LIVE_RETRY_S, "live clients have all that can be heard at once")

    def submit(self, job: Job) -> None:
        with self._changed:
            self._waiting.append(job)
            self._changed.notify()

    def wake(self) -> None:
        """There is something to do for a live job."""
        with self._changed:
            self._changed.notify()

    def withdraw(self, job: Job) -> None:
        """The client has gone: a job that waits is out at once, one that runs after its step."""
        job.cancel()
        with self._changed:
            try:
                self._waiting.remove(job)
            except ValueError:
                return
        job.end()

    def refuse_new(self) -> None:
        """From now on nobody gets in; who is in may finish."""
        self._refusing = True

    def stop_jobs(self) -> None:
        """Break off what runs or waits; the clients are told."""
        with self._changed:
            jobs = [*self._waiting, *self._engines]
        for job in jobs:
            job.stop()

    # --- what is known of it ----------------------------------------------------------------------

    @property
    def taken(self) -> int:
        """Places of the queue that nobody else can have: all, if live clients have all sessions."""
        return self._n_jobs if self._n_free else self.places

    @property
    def n_waiting(self) -> int:
        return len(self._waiting)

    def at_work(self) -> list[tuple[Engine, str]]:
        """Each engine and what has it: "live", "job" or nothing."""
        with self._changed:
            having = {id(engine): job for job, engine in self._engines.items()}
        kinds = {number: "live" if job.live else "job" for number, job in having.items()}
        return [(engine, kinds.get(id(engine), "")) for engine in self.engines]

    @property
    def fault(self) -> str:
        """Why no job can be done now; empty if one can."""
        with self._changed:
            progressed_s = min((job.progressed_s for job in self._turns.at_work), default=None)
        if self._refusing:
            return "stopping"
        if not all(thread.is_alive() for thread in self._threads):
            return "the model's thread is not running"
        if self._broken:
            return "the last job failed in the engine"
        if progressed_s is not None and time.monotonic() - progressed_s > STALLED_S:
            return f"no progress for {STALLED_S:.0f} s"
        return ""

    # --- the threads ------------------------------------------------------------------------------

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Cancel what is left and end the threads, once their steps are over."""
        self.refuse_new()
        self.stop_jobs()
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def _work(self) -> None:
        while (turn := self._next()) is not None:
            job, error = turn.job, None
            try:
                if job.live:
                    turn.engine.share(turn.n_live, others_wait=turn.others_wait)
                over = not job.step()
            except Exception as caught:
                # Whatever it is, the client is told and the thread lives on.
                over, error = True, caught
            if over:
                self._end(turn, error)
            with self._changed:
                self._turns.over(job)
                # What had to wait for this one may be done by another thread.
                self._changed.notify_all()

    def _next(self) -> _Turn | None:
        """Whose step is next; None once all is over."""
        with self._changed:
            while True:
                self._begin()
                if (job := self._turns.next()) is not None:
                    job.progressed_s = time.monotonic()
                    waits = self._turns.others_wait(job)
                    return _Turn(job, self._engines[job], self._turns.n_live, waits)
                if self._ending and not self._engines:
                    return None
                self._changed.wait(self._turns.wait_s)

    def _begin(self) -> None:
        """Give sessions to those that wait: live ones at once, one at a time of the others."""
        free = [engine for engine in self.engines if engine not in self._engines.values()]
        for job in list(self._waiting):
            if free and (job.live or not self._turns.has_other):
                self._waiting.remove(job)
                self._engines[job] = free.pop(0)
                job.begin(self._engines[job])
                self._turns.add(job)

    def _end(self, turn: _Turn, error: Exception | None) -> None:
        job = turn.job
        self._forget(turn.engine, error)
        with self._changed:
            self._turns.remove(job)
            del self._engines[job]
            # How long somebody speaks tells nothing about others.
            if not job.live:
                self._job_s += 0.3 * (job.ran_s - self._job_s)
            self.jobs_total += 1
            self.job_seconds_total += job.ran_s
        job.end(error)

    def _forget(self, engine: Engine, error: Exception | None) -> None:
        """Nothing of a job stays. What cannot be cleared is told by /ready until it can."""
        broken = error is not None and not isinstance(
            error,
            ApiError | Cancelled | DeviceError | InputError | UnfitModelError | MissingExtraError,
        )
        if broken and error is not None:
            # Of an error of ours the message is safe to keep; of others only the kind.
            known = isinstance(error, EdgeAudioKVError)
            log.error("a job failed: %s", error if known else type(error).__name__)
            if not known:
                log.debug("where", exc_info=error)
        try:
            engine.forget()
        except Exception as caught:
            broken = True
            log.error("the engine cannot be cleared: %s", caught)
        with self._changed:
            if broken:
                self._broken.add(engine)
            else:
                self._broken.discard(engine)
