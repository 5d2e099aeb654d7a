"""Where clients of the event stream come in: a Unix socket, a bound on them, and a whole end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

from edge_audiokv.errors import EdgeAudioKVError
from edge_audiokv.events import Event
from edge_audiokv.output.jsonl import PASSING, line_of
from edge_audiokv.server.events.connection import Connection
from edge_audiokv.server.events.lines import MAX_LINE_BYTES
from edge_audiokv.server.events.live import Live, OpenSource
from edge_audiokv.server.events.outbox import encoded, encoded_line
from edge_audiokv.server.events.source import microphone
from edge_audiokv.server.service import Service

MAX_CONNECTIONS = 16
# Beyond it a connection's own queue holds what waits.
_UNSENT_BYTES = 16 << 10


class EventsDoor:
    """Answers on `sockets`, on the running loop, between `open` and `close`."""

    def __init__(
        self,
        service: Service,
        sockets: Sequence[socket.socket],
        open_source: OpenSource = microphone,
    ) -> None:
        self._service, self._sockets, self._open_source = service, sockets, open_source
        self._live: Live | None = None
        self._servers: list[asyncio.Server] = []
        self._tasks: dict[asyncio.Task[None], Connection] = {}

    async def open(self) -> None:
        self._live = Live(self._service, self._open_source, self._tell)
        for bound in self._sockets:
            self._servers.append(
                await asyncio.start_unix_server(
                    self._connected, sock=bound, limit=MAX_LINE_BYTES, start_serving=True
                )
            )

    async def close(self, within_s: float) -> None:
        """Nobody new gets in; what was said is told to the end, and who does not read it is left
        within `within_s`.
        """
        for server in self._servers:
            server.close()
        try:
            async with asyncio.timeout(within_s):
                if self._live is not None:
                    await self._live.close()
                for connection in self._tasks.values():
                    connection.finish()
                if self._tasks:
                    await asyncio.wait(self._tasks)
        except TimeoutError:
            late = list(self._tasks)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _tell(self, event: Event) -> None:
        """The same line for all, encoded once."""
        line = encoded_line(line_of(event, {}, self._service.engine.facts))
        passing = event.wire_name() if isinstance(event, PASSING) else ""
        for connection in list(self._tasks.values()):
            connection.tell(line, passing=passing)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(high=_UNSENT_BYTES)
        if self._live is None or len(self._tasks) >= MAX_CONNECTIONS:
            writer.write(encoded(_full()))
            writer.close()
            return
        connection = Connection(self._live, self._service.limits, reader, writer)
        task = asyncio.get_running_loop().create_task(connection.run())
        self._tasks[task] = connection
        task.add_done_callback(lambda done: self._tasks.pop(done, None))


def _full() -> dict[str, object]:
    error = EdgeAudioKVError(
        f"{MAX_CONNECTIONS} others are connected.", cure="Close one of them, and try again."
    )
    told = {"type": "error", "id": None, "message": error.what, "cure": error.cure}
    return {**told, "exit_code": error.exit_code}
