"""One client of the event stream: its commands one by one, and all events meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

from edge_audiokv.errors import EdgeAudioKVError
from edge_audiokv.server.events.lines import (
    Command,
    Id,
    LineReader,
    command_of,
    id_of,
    read_line,
)
from edge_audiokv.server.events.live import Live
from edge_audiokv.server.events.outbox import Outbox, encoded
from edge_audiokv.server.faults import ApiError
from edge_audiokv.server.limits import Limits

log = logging.getLogger("edge_audiokv.server")


class Connection:
    """Reads a command, does it, answers, and reads the next one; a line that cannot be read to its
    end is the last. Sends what `tell` gives for as long as that is taken in time.
    """

    def __init__(
        self,
        live: Live,
        limits: Limits,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._live = live
        self._send_s = limits.send_s
        self._lines = LineReader(reader, line_s=limits.body_pause_s)
        self._writer = writer
        self._outbox = Outbox()
        self._reading: asyncio.Task[None] | None = None
        self._at_work = self._ending = False

    def tell(self, line: bytes, *, passing: str = "") -> None:
        if not self._outbox.put(line, passing=passing):
            log.info("a client that reads nothing was left")
            self._writer.transport.abort()

    def finish(self) -> None:
        """No more commands; what was asked is still answered, and what waits is still sent."""
        self._ending = True
        if self._reading is not None and not self._at_work:
            self._reading.cancel()

    async def run(self) -> None:
        sending = asyncio.create_task(self._send())
        self._reading = asyncio.create_task(self._read())
        try:
            await asyncio.wait({sending, self._reading}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done():  # it has gone, but what it asked for may be at work
                self.finish()
            await asyncio.wait({self._reading})
            self._outbox.close()
            await asyncio.wait({sending})
        finally:
            self._reading.cancel()
            sending.cancel()
            self._writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(self._send_s):
                    await self._writer.wait_closed()
            self._writer.transport.abort()

    async def _send(self) -> None:
        try:
            while (line := await self._outbox.next()) is not None:
                async with asyncio.timeout(self._send_s):
                    self._writer.write(line)
                    await self._writer.drain()
        except OSError:  # TimeoutError is one
            log.info("a client left the event stream")
            self._writer.transport.abort()

    async def _read(self) -> None:
        with contextlib.suppress(OSError):
            try:
                while not self._ending and (line := await self._lines.next()) is not None:
                    if line.strip():
                        self._at_work = True
                        await self._take(line)
                        self._at_work = False
            except EdgeAudioKVError as error:
                self._tell_error(None, error)

    async def _take(self, line: bytes) -> None:
        id: Id = None
        try:
            data = read_line(line)
            id = id_of(data)
            told = await self._do(command_of(data))
        except EdgeAudioKVError as error:
            self._tell_error(id, error)
        except ApiError as error:
            self._tell_error(id, EdgeAudioKVError(error.message))
        except Exception as error:
            log.error("a command failed: %s", type(error).__name__)
            log.debug("where", exc_info=error)
            self._tell_error(id, EdgeAudioKVError("An internal error; the server's log has it."))
        else:
            self.tell(encoded({"type": "reply", "id": id, **told}))

    async def _do(self, command: Command) -> dict[str, Any]:
        live = self._live
        match command.name:
            case "listen":
                return await live.listen(command.device)
            case "stop":
                return await live.stop()
            case "toggle":
                return await live.toggle(command.device)
            case "ask":
                return await live.ask(command.question)
        return live.status()

    def _tell_error(self, id: Id, error: EdgeAudioKVError) -> None:
        told = {"type": "error", "id": id, "message": error.what, "cure": error.cure}
        self.tell(encoded({**told, "exit_code": error.exit_code}))
