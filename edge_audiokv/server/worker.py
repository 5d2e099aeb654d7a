"""The thread that has the model, and the desk in front of it.

The desk is asked before a body is read: with one job running and `queue` waiting, the next client
is sent away at once. A place is kept from then until the job has ended. Nobody waits behind a job
that lasts, such as a microphone that is listened to, or a live client, who has all places: nobody
knows how long that would be.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque

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

log = logging.getLogger("edge_audiokv.server")
# When to ask again while a live session has the model.
_LIVE_RETRY_S = 30
# Before any job has shown how long one takes.
_FIRST_JOB_S = 2.0
_MAX_RETRY_S = 120
# When to look again whether somebody has stopped to listen.
_LASTING_RETRY_S = 30
# A step (a second of sound and what is written of it) that takes longer has got stuck.
STALLED_S = 60.0


class Worker:
    """Runs jobs one by one, in the order in which they were submitted."""

    def __init__(self, engine: Engine, *, queue: int) -> None:
        self.engine = engine
        self.places = queue + 1
        self.taken = 0
        self.busy_total = 0
        self.jobs_total = 0
        self.job_seconds_total = 0.0
        self._waiting: deque[Job] = deque()
        self._running: Job | None = None
        self._changed = threading.Condition()
        self._lasting = self._refusing = self._ending = False
        self._broken = False
        self._job_s = _FIRST_JOB_S
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)

    # --- the desk: on the event loop --------------------------------------------------------------

    def enter(self, *, lasting: bool = False, alone: bool = False) -> int:
        """Take a place, or all of them if `alone`; how many. Behind a `lasting` one there is none.
        Raises ApiError 429 or 503, with the seconds to wait.
        """
        if self._refusing:
            raise stopping()
        wanted = self.places if alone else 1
        with self._changed:
            if self.taken + wanted <= self.places and not self._lasting:
                self.taken += wanted
                self._lasting, self._live = lasting, alone
                return wanted
            live = self._live
        self.busy_total += 1
        if self._lasting:
            raise occupied(_LASTING_RETRY_S)
        # One place becomes free when the running job ends.
        job_s = max(1, min(_MAX_RETRY_S, math.ceil(self._job_s)))
        raise busy(_LIVE_RETRY_S if live else job_s)

    def leave(self, places: int = 1, *, lasting: bool = False) -> None:
        """Give places back, on whatever thread the job has ended."""
        with self._changed:
            self.taken -= places
            self._lasting = self._lasting and not lasting
            self._live = False

    def submit(self, job: Job) -> None:
        with self._changed:
            self._waiting.append(job)
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
            jobs = [*self._waiting, *([self._running] if self._running else [])]
        for job in jobs:
            job.stop()

    # --- what is known of it ----------------------------------------------------------------------

    @property
    def n_waiting(self) -> int:
        return len(self._waiting)

    @property
    def fault(self) -> str:
        """Why no job can be done now; empty if one can."""
        job = self._running
        if self._refusing:
            return "stopping"
        if not self._thread.is_alive():
            return "the model's thread is not running"
        if self._broken:
            return "the last job failed in the engine"
        if job is not None and time.monotonic() - job.progressed_s > STALLED_S:
            return f"no progress for {STALLED_S:.0f} s"
        return ""

    # --- the thread -------------------------------------------------------------------------------

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Cancel what is left and end the thread, once its step is over."""
        self.refuse_new()
        self.stop_jobs()
        with self._changed:
            self._ending = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def _work(self) -> None:
        while (job := self._next()) is not None:
            started = time.monotonic()
            error = job.run(self.engine)
            self._forget(error)
            with self._changed:
                self._running = None
                live = self._live
            job.end(error)
            taken_s = time.monotonic() - started - job.idle_s
            # How long somebody speaks tells nothing about others.
            if not live and not job.lasting:
                self._job_s += 0.3 * (taken_s - self._job_s)
            self.jobs_total += 1
            self.job_seconds_total += taken_s

    def _next(self) -> Job | None:
        with self._changed:
            while not self._waiting and not self._ending:
                self._changed.wait()
            self._running = self._waiting.popleft() if self._waiting else None
            return self._running

    def _forget(self, error: Exception | None) -> None:
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
            self.engine.forget()
        except Exception as caught:
            broken = True
            log.error("the engine cannot be cleared: %s", caught)
        self._broken = broken
