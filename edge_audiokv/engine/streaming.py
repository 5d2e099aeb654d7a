"""A blocking iterator as an asynchronous one: work in a thread, a bounded queue, a clean end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TypeVar

T = TypeVar("T")

# Items that wait for a slow consumer; then the thread waits, and the sound waits in its ring.
_MAX_WAITING = 64


async def in_thread(start: Callable[[], Iterator[T | None]]) -> AsyncIterator[T]:
    """Items of the iterator that `start` gives, computed in a thread of its own.

    None is a heartbeat: it is not passed on, but lets the thread notice that nobody listens any
    more. Leaving the loop or cancelling closes the iterator, in its thread, before control returns.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[T | BaseException | None] = asyncio.Queue(_MAX_WAITING)
    abandoned = threading.Event()

    def put(item: T | BaseException | None) -> None:
        # Waits in short steps: a consumer that has gone away takes nothing any more.
        waiting = asyncio.run_coroutine_threadsafe(queue.put(item), loop)
        while not abandoned.is_set():
            try:
                waiting.result(timeout=0.05)
                return
            except TimeoutError:
                continue
        waiting.cancel()

    def work() -> None:
        iterator: Iterator[T | None] | None = None
        end: BaseException | None = None
        try:
            iterator = start()
            for item in iterator:
                if abandoned.is_set():
                    break
                if item is not None:
                    put(item)
        except Exception as error:  # carried over to the consumer, whatever it is
            end = error
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                close()
        put(end)

    worker = loop.run_in_executor(None, work)
    try:
        while (item := await queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        abandoned.set()
        # Shielded: a second cancellation must not leave the thread behind with an open device.
        await asyncio.shield(worker)
