"""Standard input whose reading ends when it should, and not only when a line comes."""

from __future__ import annotations

import io
import os
import select
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import anyio


class _Stdin(io.RawIOBase):
    """Reads the descriptor `source`, until `stop()` lets it end; another thread may be reading."""

    def __init__(self, source: int) -> None:
        self._source = source
        self._stopped, self._stop = os.pipe()

    def readable(self) -> bool:
        return True

    def readinto(self, into: memoryview, /) -> int:  # type: ignore[override]
        ready, _, _ = select.select([self._source, self._stopped], [], [])
        if self._stopped in ready:
            return 0
        try:
            data = os.read(self._source, len(into))
        except OSError:  # a terminal that was closed
            return 0
        into[: len(data)] = data
        return len(data)

    def stop(self) -> None:
        os.write(self._stop, b"\0")

    def close(self) -> None:
        if not self.closed:
            os.close(self._stopped)
            os.close(self._stop)
        super().close()


@contextmanager
def _instead_of_stdin() -> Iterator[_Stdin]:
    before = sys.stdin
    raw = _Stdin(before.fileno())
    sys.stdin = io.TextIOWrapper(io.BufferedReader(raw), encoding="utf-8")
    try:
        yield raw
    finally:
        sys.stdin.close()
        sys.stdin = before


async def until_stopped(serve: Callable[[], Awaitable[None]]) -> None:
    """Run what reads standard input in a thread, which a signal would wait for without this."""
    if os.name == "nt":  # select knows sockets alone there
        await serve()
        return
    with _instead_of_stdin() as stdin:
        async with anyio.create_task_group() as group:
            group.start_soon(_stop_at_end, stdin)
            await serve()
            group.cancel_scope.cancel()


async def _stop_at_end(stdin: _Stdin) -> None:
    """A signal cancels every task, but the one whose thread reads waits for that first."""
    try:
        await anyio.sleep_forever()
    finally:
        stdin.stop()
