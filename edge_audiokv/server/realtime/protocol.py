"""WebSockets as uvicorn speaks them, with what it lacks: bounds on what comes at once, a deadline
for who does not read, and a stop that lets the last words out.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from edge_audiokv.server.faults import ApiError
from edge_audiokv.server.limits import MAX_EVENTS, Limits
from edge_audiokv.server.unread import Unread

# With -vv uvicorn and websockets would log addresses, headers and frames: keys, and what was said.
_log = logging.getLogger("edge_audiokv.websocket")
_log.setLevel(logging.ERROR)
# In a "websocket.disconnect": it is the server that ends, and its client can still be told.
STOPPING = "stopping"
_POLICY = 1008
# A socket that is closed with bytes unread may take its close frame with it.
_LINGER_S = 1.0


def live_protocol(limits: Limits) -> type[WebSocketsSansIOProtocol]:
    """The protocol class for connections that upgrade."""

    class Protocol(Unread, WebSocketsSansIOProtocol):
        send_s = limits.send_s
        _lingers = False

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.logger = self.conn.logger = _log
            self.conn.debug = False

        def data_received(self, data: bytes) -> None:
            if self._lingers:
                return
            super().data_received(data)
            if self.conn.handshake_exc is not None and not self.transport.is_closing():
                self._refuse_upgrade()

        def connection_lost(self, exc: Exception | None) -> None:
            self.flows()
            super().connection_lost(exc)

        def pause_writing(self) -> None:
            super().pause_writing()
            self.stuck()

        def resume_writing(self) -> None:
            self.flows()
            super().resume_writing()

        def shutdown(self) -> None:
            """The application closes, once it has told what it heard."""
            if not self.handshake_complete or self.close_sent:
                super().shutdown()
                return
            self.stop_keepalive()
            end: Any = {"type": "websocket.disconnect", "code": 1001, STOPPING: True}
            self.queue.put_nowait(end)

        def on_task_complete(self, task: asyncio.Task[None]) -> None:
            """All is said; a connection closes once it was sent, which who never reads prevents."""
            super().on_task_complete(task)
            self.loop.call_later(self.send_s, self.transport.abort)

        def handle_cont(self, event: Any) -> None:
            # Empty frames take no room in a message, but in the list of its frames.
            if len(self.frames) < MAX_EVENTS:
                super().handle_cont(event)
            else:
                self._refuse("too many frames")

        def send_receive_event_to_app(self) -> None:
            # Reading pauses with each event; a packet may still hold thousands of tiny ones.
            if self.queue.qsize() < MAX_EVENTS:
                super().send_receive_event_to_app()
            else:
                self._refuse("too many events at once")

        def _refuse(self, why: str) -> None:
            if self._lingers or self.transport.is_closing():
                return
            self.conn.send_close(_POLICY, why)
            self._part(_POLICY, why)

        def handle_parser_exception(self) -> None:
            """What comes is too large, or no WebSocket."""
            if self._lingers or self.transport.is_closing():
                return
            if self.conn.close_sent is not None:
                self._part(self.conn.close_sent.code, self.conn.close_sent.reason)
            else:
                self.transport.abort()

        def _refuse_upgrade(self) -> None:
            """It was taken for HTTP, but this library has narrower bounds on headers."""
            response = ApiError(400, "this is no upgrade that can be read.").response(close=True)
            lines = [b"%s: %s" % header for header in response.raw_headers]
            head = b"\r\n".join([b"HTTP/1.1 400 Bad Request", *lines, b"", b""])
            self.transport.write(head + bytes(response.body))
            self.transport.close()

        async def send(self, message: Any) -> None:
            if self._lingers:  # what came ended it while the application was speaking
                raise ClientDisconnected
            await super().send(message)
            if message["type"] == "websocket.http.response.body" and not message.get("more_body"):
                # A refusal is an answer, too; it would be logged as a fault.
                self.handshake_complete = True

        def _part(self, code: int, why: str) -> None:
            """Send what says why, and read on for a moment, into nothing."""
            self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": why})
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = self._lingers = True
            self.transport.resume_reading()
            self.close_timer = self.loop.call_later(_LINGER_S, self.transport.close)

    return Protocol
