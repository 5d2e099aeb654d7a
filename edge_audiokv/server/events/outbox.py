"""What waits for one subscriber: bounded, and the first to go is what passes anyway."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, deque
from typing import Any

# Half a minute of partials: who is later than that sees the newest.
MAX_PASSING = 32
MAX_HELD_BYTES = 512 << 10


def encoded(document: dict[str, Any]) -> bytes:
    """A line of JSON in UTF-8, whatever a client has put into a text."""
    return encoded_line(json.dumps(document, ensure_ascii=False))


def encoded_line(text: str) -> bytes:
    return text.encode("utf-8", "replace") + b"\n"


class Outbox:
    """Lines in order. Of those that have a `passing` kind (partials, memory reports) the newest
    `MAX_PASSING` wait; how many others were dropped is told in their place, by kind.
    """

    def __init__(self) -> None:
        self._lines: deque[tuple[bytes, str]] = deque()
        self._held_bytes = self._n_passing = 0
        self._dropped: Counter[str] = Counter()
        self._changed = asyncio.Event()
        self._closed = False

    def put(self, line: bytes, *, passing: str = "") -> bool:
        """False if it cannot be held: whoever it is for does not read."""
        if self._closed:
            return True
        if passing and self._n_passing >= MAX_PASSING:
            self._drop_oldest()
        if self._held_bytes + len(line) > MAX_HELD_BYTES:
            return False
        self._lines.append((line, passing))
        self._held_bytes += len(line)
        self._n_passing += bool(passing)
        self._changed.set()
        return True

    def _drop_oldest(self) -> None:
        at, (line, kind) = next((n, item) for n, item in enumerate(self._lines) if item[1])
        del self._lines[at]
        self._held_bytes -= len(line)
        self._n_passing -= 1
        self._dropped[kind] += 1

    async def next(self) -> bytes | None:
        """The next line to send; None once all are sent after `close`."""
        while True:
            if self._dropped:
                told = encoded({"type": "dropped", **self._dropped})
                self._dropped.clear()
                return told
            if self._lines:
                line, passing = self._lines.popleft()
                self._held_bytes -= len(line)
                self._n_passing -= bool(passing)
                return line
            if self._closed:
                return None
            self._changed.clear()
            await self._changed.wait()

    def close(self) -> None:
        """Nothing is taken any more; what waits is still given."""
        self._closed = True
        self._changed.set()
