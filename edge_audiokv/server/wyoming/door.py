"""Where Wyoming's clients come in: sockets, a bound on connections, and a stop that answers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

from edge_audiokv.server.service import Service
from edge_audiokv.server.wyoming.connection import Connection
from edge_audiokv.server.wyoming.frames import WatchedReader

# Each may hold two lines and a piece of sound; a house has few satellites.
MAX_CONNECTIONS = 16


class WyomingDoor:
    """Answers on `sockets`, on the running loop, between `open` and `close`."""

    def __init__(self, service: Service, sockets: Sequence[socket.socket]) -> None:
        self._service, self._sockets = service, sockets
        self._servers: list[asyncio.Server] = []
        self._tasks: dict[asyncio.Task[None], Connection] = {}

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        for bound in self._sockets:
            self._servers.append(await loop.create_server(self._protocol, sock=bound))

    async def close(self, within_s: float) -> None:
        """Nobody new gets in; who is being answered has `within_s` for it."""
        for server in self._servers:
            server.close()
        for task, connection in list(self._tasks.items()):
            if not connection.answering:
                task.cancel()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=within_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _protocol(self) -> asyncio.StreamReaderProtocol:
        stream = WatchedReader()

        def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if len(self._tasks) >= MAX_CONNECTIONS:
                writer.transport.abort()
                return
            connection = Connection(self._service, stream, writer)
            task = asyncio.get_running_loop().create_task(connection.run())
            self._tasks[task] = connection
            task.add_done_callback(lambda done: self._tasks.pop(done, None))

        return asyncio.StreamReaderProtocol(stream, connected)
