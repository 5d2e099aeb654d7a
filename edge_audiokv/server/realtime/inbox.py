"""Orders on their way to the model's thread: one after another, and bounded.

Sound that comes faster than it is heard waits on disk. Where that is full, too, the client's
connection is not read on, so that its own sending waits: no sound is lost. It should not come to
that soon: a client's ping stands behind its sound, and many give up after twenty seconds.
"""

from __future__ import annotations

import asyncio
import io
import tempfile
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edge_audiokv.server.limits import MAX_WAITING_BYTES
from edge_audiokv.server.realtime.wishes import Feed, Hear, Order

# Four utterances, which lie on disk, or some dozens of small orders may wait.
_FILE_COST, _COST = MAX_WAITING_BYTES // 4, MAX_WAITING_BYTES // 64
# Of a piece of sound beside its bytes; and how large one becomes that lies on disk.
_PLACE_COST, _PLACE_BYTES = 256, 64 << 10


@dataclass(frozen=True)
class _Spooled:
    """A Feed whose sound lies on disk."""

    start: int
    n_bytes: int
    rate_hz: int
    came_s: float


class Inbox:
    """`put` on the running loop, `get` on one thread; `close` on any.

    `max_bytes` of sound may wait in a nameless file in `folder`. `wake` is called after each `put`.
    """

    def __init__(self, folder: Path, max_bytes: int, wake: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._orders: deque[Order | _Spooled] = deque()
        self._lock = threading.Lock()
        self._tell = wake
        self._room = asyncio.Event()
        self._folder, self._max_bytes = folder, max_bytes
        self._file: io.FileIO | None = None
        # Pieces that lie in it, and where the last one ends.
        self._n_spooled = self._end = 0
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
        with self._lock:
            if self._closed:
                _close(order)
                return True
            waiting = self._placed(order)
            if waiting is None:
                return False
            self._orders.append(waiting)
            self._cost += _cost(waiting)
            self.sound_s += _duration_s(waiting)
        self._tell()
        return True

    def _placed(self, order: Order) -> Order | _Spooled | None:
        """The order as it can wait; None if it cannot yet."""
        if not self._orders or self._cost + _cost(order) <= MAX_WAITING_BYTES:
            return order
        return self._spooled(order) if isinstance(order, Feed) else None

    def _spooled(self, order: Feed) -> _Spooled | None:
        start = self._end if self._n_spooled else 0  # what lay there was heard
        if start + len(order.pcm) > self._max_bytes:
            return None
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(  # noqa: SIM115
                    dir=self._folder, buffering=0
                )
            if not start:
                self._file.truncate(0)
            self._file.seek(start)
            left = memoryview(order.pcm)
            while left:
                left = left[self._file.write(left) :]
        except OSError:  # the disk is full: it waits at the client
            return None
        self._end = start + len(order.pcm)
        self._n_spooled += 1
        last = self._orders[-1]
        if not isinstance(last, _Spooled) or last.rate_hz != order.rate_hz:
            return _Spooled(start, len(order.pcm), order.rate_hz, order.came_s)
        if last.n_bytes + len(order.pcm) > _PLACE_BYTES:
            return _Spooled(start, len(order.pcm), order.rate_hz, order.came_s)
        # Small pieces become one.
        self._orders.pop()
        self._n_spooled -= 1
        self._cost -= _cost(last)
        self.sound_s -= _duration_s(last)
        n_bytes = last.n_bytes + len(order.pcm)
        return _Spooled(last.start, n_bytes, order.rate_hz, last.came_s)

    @property
    def is_empty(self) -> bool:
        """Does nothing wait? One that is closed has nothing to wait for."""
        return not self._orders and not self._closed

    def get(self) -> Order | None:
        """The next order, or None if none waits."""
        with self._lock:
            if not self._orders:
                return None
            waiting = self._orders.popleft()
            self._cost -= _cost(waiting)
            self.sound_s -= _duration_s(waiting)
            order = self._read(waiting) if isinstance(waiting, _Spooled) else waiting
        self._wake()
        return order

    def _read(self, place: _Spooled) -> Feed:
        if self._file is None:
            raise RuntimeError("no sound lies on disk")
        self._n_spooled -= 1
        self._file.seek(place.start)
        data = self._file.read(place.n_bytes)
        return Feed(data or b"", place.rate_hz, place.came_s)

    def close(self) -> None:
        """Nobody will take anything any more."""
        with self._lock:
            self._closed = True
            left, self._orders = self._orders, deque()
            if self._file is not None:
                self._file.close()
        for order in left:
            _close(order)
        self._wake()
        self._tell()

    def _wake(self) -> None:
        with suppress(RuntimeError):  # the loop has gone, and who waits on it
            self._loop.call_soon_threadsafe(self._room.set)


def _cost(order: Order | _Spooled) -> int:
    if isinstance(order, Feed):
        return len(order.pcm) + _PLACE_COST
    if isinstance(order, _Spooled):
        return _PLACE_COST
    return _FILE_COST if isinstance(order, Hear) else _COST


def _duration_s(order: Order | _Spooled) -> float:
    n_bytes = len(order.pcm) if isinstance(order, Feed) else 0
    if isinstance(order, _Spooled):
        n_bytes = order.n_bytes
    return n_bytes / (2 * order.rate_hz) if isinstance(order, Feed | _Spooled) else 0.0


def _close(order: Order | _Spooled) -> None:
    if isinstance(order, Hear):
        order.file.close()
