"""Serve until a signal: uvicorn with deadlines, a bound on connections and a stop that answers."""

from __future__ import annotations

import asyncio
import math
import signal
import socket
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, Protocol

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from edge_audiokv.server.app import make_app
from edge_audiokv.server.faults import ApiError
from edge_audiokv.server.guard import ON_UNIX
from edge_audiokv.server.limits import MAX_EVENT_BYTES, MAX_HEADER_BYTES, Limits
from edge_audiokv.server.realtime.protocol import live_protocol
from edge_audiokv.server.service import Service
from edge_audiokv.server.unread import Unread

_INTERNET = (socket.AF_INET, socket.AF_INET6)
_KEEP_ALIVE_S = 15
# For the last answers, once jobs are broken off.
_TELL_S = 2.0


class Door(Protocol):
    """Another way in, beside HTTP, on the same loop."""

    async def open(self) -> None:
        """Begin to answer."""

    async def close(self, within_s: float) -> None:
        """Let nobody new in; who is being answered has `within_s` for it."""


def serve(
    service: Service,
    sockets: Sequence[socket.socket],
    *,
    doors: Sequence[Door] = (),
    on_interrupt: Callable[[], None] = lambda: None,
) -> None:
    """Answer on `sockets` until SIGINT or SIGTERM, which then takes its course.

    `on_interrupt` is called when a SIGINT begins the end: a second one breaks off what is answered.
    """
    service.worker.start()
    server = make_server(service, on_interrupt, doors)
    try:
        server.run(list(sockets))
    finally:
        service.worker.close()
    if server.is_interrupted:
        # Uvicorn lets it take its course, which is none where a shell had it ignored.
        raise KeyboardInterrupt


def make_server(
    service: Service,
    on_interrupt: Callable[[], None] = lambda: None,
    doors: Sequence[Door] = (),
) -> _Server:
    """What answers until its `should_exit`: then nobody new gets in, and who is being answered has
    `limits.stop_s` more, until jobs are broken off and told so.
    """
    limits = service.limits
    config = uvicorn.Config(
        make_app(service),
        http=_protocol(limits),
        ws=live_protocol(limits),
        ws_max_size=MAX_EVENT_BYTES,
        ws_per_message_deflate=False,  # a kilobyte of it may stand for a megabyte
        # An event that waits for the model holds up the answers to pings: idle clients are told by
        # a deadline of their own.
        ws_ping_timeout=None,
        lifespan="off",
        log_config=None,
        access_log=False,
        # What a proxy says of a client is not believed, and nobody needs to know what this is.
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=math.ceil(limits.stop_s + _TELL_S),
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
    )
    return _Server(config, service, on_interrupt, doors)


class _Server(uvicorn.Server):
    def __init__(
        self,
        config: uvicorn.Config,
        service: Service,
        on_interrupt: Callable[[], None],
        doors: Sequence[Door],
    ) -> None:
        super().__init__(config)
        self._service = service
        self._on_interrupt = on_interrupt
        self._doors = doors
        self._loop: asyncio.AbstractEventLoop | None = None
        self._broken_off = False
        self.is_interrupted = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        for door in self._doors:
            await door.open()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A second Ctrl-C breaks off what is answered, and tells so; a third one everything."""
        again = sig == signal.SIGINT and self.should_exit
        if again and self._loop is not None and not self._broken_off:
            self._broken_off = True
            self._loop.call_soon_threadsafe(self._service.worker.stop_jobs)
            return
        super().handle_exit(sig, frame)

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """SIGHUP, too, lets who is being answered have the answer; nohup keeps it away."""
        hangup: signal.Signals | None = getattr(signal, "SIGHUP", None)
        on_main = threading.current_thread() is threading.main_thread()
        with super().capture_signals():
            if hangup is None or not on_main or signal.getsignal(hangup) is signal.SIG_IGN:
                yield
                return
            before = signal.signal(hangup, self.handle_exit)
            try:
                yield
            finally:
                signal.signal(hangup, before)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        worker = self._service.worker
        worker.refuse_new()
        if signal.SIGINT in self._captured_signals:
            self.is_interrupted = True
            self._on_interrupt()
        end = asyncio.get_running_loop().call_later(self._service.limits.stop_s, worker.stop_jobs)
        within_s = self._service.limits.stop_s + _TELL_S
        closing = [asyncio.create_task(door.close(within_s)) for door in self._doors]
        try:
            await super().shutdown(sockets)
            await asyncio.gather(*closing)
        finally:
            end.cancel()


def _protocol(limits: Limits) -> type[H11Protocol]:
    """HTTP/1.1 as uvicorn speaks it, with what it lacks: a deadline for headers, a bound on
    connections, and refusals in the one form.
    """

    class Protocol(Unread, H11Protocol):
        send_s = limits.send_s
        _deadline: asyncio.TimerHandle | None = None
        _upgraded = False

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            family = transport.get_extra_info("socket").family
            self.app_state = {**self.app_state, ON_UNIX: family not in _INTERNET}
            if len(self.connections) > limits.connections:
                transport.abort()
                return
            self._expect()

        def connection_lost(self, exc: Exception | None) -> None:
            self._met()
            self.flows()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if not self._in_request():
                self._expect()
            super().data_received(data)
            if self._in_request() or self._upgraded:
                self._met()

        def pause_writing(self) -> None:
            super().pause_writing()
            self.stuck()

        def resume_writing(self) -> None:
            self.flows()
            super().resume_writing()

        def handle_websocket_upgrade(self, event: h11.Request) -> None:
            """From here on another protocol has the connection, with deadlines of its own."""
            self._met()
            own = (value for name, value in event.headers if name.startswith(b"sec-websocket-"))
            if not all(map(bytes.isascii, own)):
                # Quoting it, its library would fail instead of refusing.
                self.send_400_response("")
                return
            super().handle_websocket_upgrade(event)
            self._upgraded = True

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self.transport.is_closing():
                self._abort_later()

        def timeout_keep_alive_handler(self) -> None:
            super().timeout_keep_alive_handler()
            self._abort_later()

        def _abort_later(self) -> None:
            """A connection closes once all was sent: who never reads would keep it open."""
            self.loop.call_later(limits.send_s, self.transport.abort)

        def send_400_response(self, msg: str) -> None:
            response = ApiError(400, "this is not HTTP that can be read.").response(close=True)
            if self.conn.our_state is h11.IDLE or self.conn.our_state is h11.SEND_RESPONSE:
                start = h11.Response(
                    status_code=response.status_code, headers=response.raw_headers, reason=b""
                )
                for event in (start, h11.Data(data=bytes(response.body)), h11.EndOfMessage()):
                    self.transport.write(self.conn.send(event) or b"")
            self.transport.close()

        def _in_request(self) -> bool:
            cycle: Any = self.cycle  # None before the first one
            return cycle is not None and not cycle.response_complete

        def _expect(self) -> None:
            """A request's headers must be there in time; dripping them does not extend it."""
            if self._deadline is None:
                self._deadline = self.loop.call_later(limits.header_s, self._overdue)

        def _met(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

        def _overdue(self) -> None:
            self._deadline = None
            if not self._in_request():
                self.transport.abort()

    return Protocol
