"""Sessions that work at the same time: the worker's threads. No model."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from edge_audiokv.server.jobs import Item, Job
from edge_audiokv.server.worker import Worker
from tests.server.scripted import ScriptedEngine


async def never() -> Any:
    await asyncio.sleep(math.inf)


def job(steps, *, live: bool = True) -> Job:
    ready = (lambda: True) if live else None
    return Job(steps, ExitStack(), param="", max_audio_s=math.inf, ready=ready)


async def done(made: Job) -> None:
    async with asyncio.timeout(20):
        async for _ in made.items(never):
            pass


@pytest.fixture
def engines() -> list[ScriptedEngine]:
    return [ScriptedEngine() for _ in range(3)]


def served(engines, n_threads: int, makers) -> list[BaseException | None]:
    """What the jobs that `makers` make end with, all submitted at once."""

    async def all_done() -> list[BaseException | None]:
        worker = Worker(engines, queue=1, n_threads=n_threads)
        jobs = [make() for make in makers]
        for made in jobs:
            worker.submit(made)
        worker.start()
        found = await asyncio.gather(*map(done, jobs), return_exceptions=True)
        assert worker.fault == "" and worker.jobs_total == len(jobs)
        await asyncio.to_thread(worker.close)
        assert worker.fault == "stopping"
        return found

    return asyncio.run(all_done())


def test_as_many_as_there_are_threads_work_at_once(engines) -> None:
    meeting = threading.Barrier(2, timeout=10)

    def steps(engine, job) -> Iterator[Item | None]:
        for _ in range(5):
            meeting.wait()
            yield None

    assert served(engines[:2], 2, [lambda: job(steps)] * 2) == [None, None]


def test_no_more_than_there_are_threads(engines) -> None:
    n_now, most, lock = 0, 0, threading.Lock()

    def steps(engine, job) -> Iterator[Item | None]:
        nonlocal n_now, most
        for _ in range(5):
            with lock:
                n_now += 1
                most = max(most, n_now)
            threading.Event().wait(0.005)
            with lock:
                n_now -= 1
            yield None

    assert served(engines, 2, [lambda: job(steps)] * 3) == [None] * 3
    assert most == 2


def test_a_session_is_never_in_two_threads(engines) -> None:
    inside: set[int] = set()

    def steps(engine, job) -> Iterator[Item | None]:
        for _ in range(200):
            assert id(engine) not in inside
            inside.add(id(engine))
            yield None
            inside.discard(id(engine))

    # A generator that two threads enter raises by itself, too.
    makers = [lambda: job(steps)] * 2 + [lambda: job(steps, live=False)]
    assert served(engines, 3, makers) == [None] * 3


def test_what_fails_in_one_leaves_the_others_alone(engines) -> None:
    meeting = threading.Barrier(2, timeout=10)

    def fails(engine, job) -> Iterator[Item | None]:
        meeting.wait()
        yield None
        raise KeyError("x")

    def works(engine, job) -> Iterator[Item | None]:
        meeting.wait()
        for _ in range(20):
            yield None

    async def all_done() -> tuple[Any, str, str]:
        worker = Worker(engines[:2], queue=1, n_threads=2)
        jobs = [job(fails), job(works)]
        for made in jobs:
            worker.submit(made)
        worker.start()
        found = await asyncio.gather(*map(done, jobs), return_exceptions=True)
        fault = worker.fault
        again = job(lambda *_: iter(()))
        worker.submit(again)
        await done(again)
        mended = worker.fault
        await asyncio.to_thread(worker.close)
        return found, fault, mended

    found, fault, mended = asyncio.run(all_done())
    assert isinstance(found[0], KeyError) and found[1] is None
    assert "failed" in fault and mended == ""
