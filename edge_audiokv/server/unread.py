"""Who does not read what it is sent must not keep a connection for ever."""

from __future__ import annotations

import asyncio
from typing import Any


class Unread:
    """For a protocol: while its transport's buffer is full it has `send_s`, then it is cut off."""

    send_s: float
    loop: asyncio.AbstractEventLoop
    transport: Any
    _unread: asyncio.TimerHandle | None = None

    def stuck(self) -> None:
        """Nothing more goes out."""
        if self._unread is None:
            self._unread = self.loop.call_later(self.send_s, self.transport.abort)

    def flows(self) -> None:
        """It does again, or the connection has ended."""
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
