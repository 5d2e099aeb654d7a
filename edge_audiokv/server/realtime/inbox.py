"""Orders on their way to the model's thread: one after another, and bounded.

Where it is full the client's connection is not read on, so that its own sending waits: no sound is
lost, and none piles up here.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from contextlib import suppress

from edge_audiokv.server.limits import MAX_WAITING_BYTES
from edge_audiokv.server.realtime.wishes import Feed, Hear, Order

# Four utterances, which lie on disk, or some dozens of small orders may wait.
_FILE_COST, _COST = MAX_WAITING_BYTES // 4, MAX_WAITING_BYTES // 64


class Inbox:
    """`put` on the running loop, `get` on one thread; `close` on any."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._orders: deque[Order] = deque()
        self._changed = threading.Condition()
        self._room = asyncio.Event()
        self._cost = 0
        self._closed = False
        self.sound_s = 0.0

    async def put(self, order: Order) -> None:
        """Waits until there is room."""
        while not self._put(order):
            self._room.clear()
            # Taken in between, it is set again by what is called on this loop: after this.
            await self._room.wait()

    def _put(self, order: Order) -> bool:
        cost = _cost(order)
        with self._changed:
            if self._closed:
                _close(order)
                return True
            if self._orders and self._cost + cost > MAX_WAITING_BYTES:
                return False
            self._orders.append(order)
            self._cost += cost
            self.sound_s += _duration_s(order)
            self._changed.notify()
        return True

    def get(self, within_s: float) -> Order | None:
        """The next order, or None if there is none within that time."""
        with self._changed:
            if not self._orders:
                self._changed.wait(within_s)
            if not self._orders:
                return None
            order = self._orders.popleft()
            self._cost -= _cost(order)
            self.sound_s -= _duration_s(order)
        self._wake()
        return order

    def close(self) -> None:
        """Nobody will take anything any more."""
        with self._changed:
            self._closed = True
            left, self._orders = self._orders, deque()
        for order in left:
            _close(order)
        self._wake()

    def _wake(self) -> None:
        with suppress(RuntimeError):  # the loop has gone, and who waits on it
            self._loop.call_soon_threadsafe(self._room.set)


def _cost(order: Order) -> int:
    if isinstance(order, Feed):
        return len(order.pcm) + _COST // 256
    return _FILE_COST if isinstance(order, Hear) else _COST


def _duration_s(order: Order) -> float:
    return len(order.pcm) / (2 * order.rate_hz) if isinstance(order, Feed) else 0.0


def _close(order: Order) -> None:
    if isinstance(order, Hear):
        order.file.close()
