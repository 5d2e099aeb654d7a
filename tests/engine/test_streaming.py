"""The asynchronous twin of an iterator: order, back-pressure, errors, cancellation."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from edge_audiokv.engine.streaming import _MAX_WAITING, in_thread

pytestmark = pytest.mark.alone


class Numbers:
    """Counts up; knows how far it came, in which thread, and whether it was closed."""

    def __init__(self, end: int | None = None, *, heartbeats: bool = False) -> None:
        self.end, self.heartbeats = end, heartbeats
        self.made = 0
        self.closed_in: str | None = None
        self.threads: set[str] = set()

    def __call__(self) -> Iterator[int | None]:
        try:
            while self.end is None or self.made < self.end:
                self.threads.add(threading.current_thread().name)
                self.made += 1
                yield self.made
                while self.heartbeats:
                    yield None
        finally:
            self.closed_in = threading.current_thread().name


def test_all_items_come_in_order_from_one_other_thread() -> None:
    numbers = Numbers(500)

    async def collect() -> list[int]:
        return [item async for item in in_thread(numbers)]

    assert asyncio.run(collect()) == list(range(1, 501))
    assert len(numbers.threads) == 1 and threading.current_thread().name not in numbers.threads


def test_a_slow_consumer_holds_the_producer_back() -> None:
    numbers = Numbers()

    async def consume() -> None:
        items = in_thread(numbers)
        async for item in items:
            await asyncio.sleep(0.002)
            # What waits, what is being put, and what was just taken.
            assert numbers.made - item <= _MAX_WAITING + 2
            if item == 200:
                break
        await items.aclose()  # type: ignore[attr-defined]

    asyncio.run(consume())
    assert numbers.closed_in in numbers.threads


def test_an_error_arrives_after_what_came_before_it() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    async def consume() -> list[int]:
        seen = []
        with pytest.raises(ValueError, match="broken"):
            async for item in in_thread(broken):
                seen.append(item)
        return seen

    assert asyncio.run(consume()) == [1]


@pytest.mark.parametrize("heartbeats", [False, True], ids=["queue full", "nothing to say"])
def test_cancelling_closes_the_iterator_before_it_returns(heartbeats: bool) -> None:
    numbers = Numbers(heartbeats=heartbeats)

    async def main() -> None:
        reached = asyncio.Event()

        async def consume() -> None:
            async for _item in in_thread(numbers):
                reached.set()
                await asyncio.sleep(0)
                if not heartbeats:
                    await asyncio.Event().wait()

        task = asyncio.create_task(consume())
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert numbers.closed_in in numbers.threads


def test_an_iterator_that_cannot_start_raises() -> None:
    def refuse() -> Iterator[int]:
        raise ValueError("no microphone")

    async def consume() -> None:
        async for _item in in_thread(refuse):
            raise RuntimeError("there is nothing")

    with pytest.raises(ValueError, match="no microphone"):
        asyncio.run(consume())
