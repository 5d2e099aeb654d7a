"""What all doors share: the model, its queue, and how a job is given to them and told."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from starlette.types import Receive

from edge_audiokv.server.body import ClientGone
from edge_audiokv.server.engine import Engine
from edge_audiokv.server.faults import from_engine
from edge_audiokv.server.guard import Guard
from edge_audiokv.server.jobs import Item, Job
from edge_audiokv.server.limits import Limits
from edge_audiokv.server.metrics import Requests
from edge_audiokv.server.worker import Worker


@dataclass
class Service:
    """`folder` is where bodies lie; `page` says that browsers get one."""

    engine: Engine
    worker: Worker
    folder: Path
    limits: Limits = field(default_factory=Limits)
    guard: Guard = field(default_factory=Guard)
    requests: Requests = field(default_factory=Requests)
    page: bool = False
    created_s: int = field(default_factory=lambda: int(time.time()))

    def enter(self, held: ExitStack, *, alone: bool = False) -> None:
        """A place for a job, or all of them, which `held` gives back; or ApiError before anything
        of what the client sends is read.
        """
        places = self.worker.enter(alone=alone)
        held.callback(self.worker.leave, places)

    def submit(
        self,
        steps: Callable[[Engine, Job], Iterator[Item]],
        held: ExitStack,
        param: str,
        *,
        max_audio_s: float | None = None,
    ) -> Job:
        """From here on the job has what `held` held. `param` is where its sound came from."""
        bound_s = self.limits.audio_s if max_audio_s is None else max_audio_s
        job = Job(steps, held.pop_all(), param=param, max_audio_s=bound_s)
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
