"""What all doors share: the model, its queue, and how a job is given to them and told."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from starlette.types import Receive

from edge_audiokv.server.body import ClientGone
from edge_audiokv.server.engine import Engine
from edge_audiokv.server.faults import from_engine
from edge_audiokv.server.guard import Guard
from edge_audiokv.server.jobs import Item, Job, Steps
from edge_audiokv.server.limits import Limits
from edge_audiokv.server.live.latency import Latencies
from edge_audiokv.server.metrics import Requests
from edge_audiokv.server.worker import Worker


@dataclass
class Service:
    """`folder` is where bodies lie; `page` says that browsers get one."""

    worker: Worker
    folder: Path
    limits: Limits = field(default_factory=Limits)
    guard: Guard = field(default_factory=Guard)
    requests: Requests = field(default_factory=Requests)
    latencies: Latencies = field(default_factory=Latencies)
    page: bool = False
    created_s: int = field(default_factory=lambda: int(time.time()))

    @property
    def engine(self) -> Engine:
        """Who knows what all engines have in common, and the cap's ledger."""
        return self.worker.engines[0]

    def enter(self, held: ExitStack) -> None:
        """A place for a job, which `held` gives back; or ApiError before anything of what the
        client sends is read.
        """
        self.worker.enter()
        held.callback(self.worker.leave)

    def enter_live(self, held: ExitStack, *, listens: bool = False) -> None:
        """The same of a session for a live client."""
        self.worker.enter_live(listens=listens)
        held.callback(self.worker.leave_live, listens=listens)

    def submit(
        self,
        steps: Steps,
        held: ExitStack,
        param: str,
        *,
        ready: Callable[[], bool] | None = None,
        behind_s: Callable[[], float] = lambda: 0.0,
    ) -> Job:
        """From here on the job has what `held` held. `param` is where its sound came from; one that
        is `ready` now and then is live (see `Job`), and its sound has no bound.
        """
        bound_s = self.limits.audio_s if ready is None else math.inf
        job = Job(
            steps,
            held.pop_all(),
            param=param,
            max_audio_s=bound_s,
            ready=ready,
            behind_s=behind_s,
        )
        self.worker.submit(job)
        return job

    async def items(self, job: Job, receive: Receive) -> AsyncGenerator[Item]:
        """What the job yields. Raises ApiError or ClientGone; left early, the job is withdrawn."""
        try:
            async for item in job.items(receive):
                yield item
        except ClientGone:
            raise
        except Exception as error:
            raise from_engine(error, param=job.param) from None
        finally:
            self.worker.withdraw(job)
