"""One live client: its events become orders for the model's thread, whose news become events."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from contextlib import ExitStack, aclosing
from functools import partial
from typing import Any

from starlette.datastructures import QueryParams
from starlette.types import Message, Receive, Scope, Send

from edge_audiokv.server.body import ClientGone
from edge_audiokv.server.faults import ApiError, encoded
from edge_audiokv.server.jobs import Cleared, Job, NothingOpen
from edge_audiokv.server.realtime.dialect import Dialect, Document
from edge_audiokv.server.realtime.inbox import Inbox
from edge_audiokv.server.realtime.live import steps
from edge_audiokv.server.realtime.protocol import STOPPING
from edge_audiokv.server.realtime.wishes import (
    Adjust,
    Append,
    Clear,
    Commit,
    EndTurn,
    Feed,
    Finish,
    Follow,
    Hear,
    Order,
    Wish,
)
from edge_audiokv.server.service import Service
from edge_audiokv.server.sound import Form, Sound

log = logging.getLogger("edge_audiokv.server")
_LEAST_UTTERANCE_S = 0.1
# How long it may take until the place of who has left is free, and how often that is looked at.
_LEAVING_S, _LOOK_S = 1.0, 0.02
# Close codes of WebSockets.
_GOING_AWAY, _POLICY, _INTERNAL = 1001, 1008, 1011


async def answer(
    service: Service, dialect: Dialect, scope: Scope, receive: Receive, send: Send
) -> None:
    """Talk with one client until it leaves. Raises ApiError before anything is accepted."""
    first, documents = dialect.begin(QueryParams(scope["query_string"]))
    with ExitStack() as held:
        await _let_leave(service)
        # A session of its own: what is remembered is one memory.
        service.enter_live(held)
        inbox = Inbox(service.folder, service.limits.upload_bytes, service.worker.wake)
        held.callback(inbox.close)
        offered = scope.get("subprotocols", [])
        chosen = dialect.subprotocol if dialect.subprotocol in offered else None
        await send({"type": "websocket.accept", "subprotocol": chosen})
        told = partial(service.latencies.observe, "realtime")
        job = service.submit(
            steps(inbox, told),
            held,
            "audio",
            ready=lambda: not inbox.is_empty,
            behind_s=lambda: inbox.sound_s,
        )
    await _Connection(service, dialect, inbox, receive, send).run(job, first, documents)


async def _let_leave(service: Service) -> None:
    """Who has just left gives way after a step: who comes again at once need not be sent away."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LEAVING_S):
            while not service.worker.takes_live:
                await asyncio.sleep(_LOOK_S)


class _Connection:
    def __init__(
        self, service: Service, dialect: Dialect, inbox: Inbox, receive: Receive, send: Send
    ) -> None:
        self._service, self._dialect, self._inbox = service, dialect, inbox
        self._receive, self._send = receive, send
        # Events go out in the order in which they were made, whoever made them.
        self._sending = asyncio.Lock()
        self._left = asyncio.Event()
        # The utterance that waits for its commit, where the client says what is one.
        self._by_hand = False
        self._sound: Sound | None = None
        self._end = _GOING_AWAY, ""

    async def run(self, job: Job, first: Wish, documents: list[Document]) -> None:
        reading = asyncio.create_task(self._read(first, documents))
        try:
            async with aclosing(self._service.items(job, self._gone)) as items:
                async for item in items:
                    await self._tell(self._dialect.told(item))
            await self._close(*self._end)
        except ApiError as error:
            with contextlib.suppress(ClientGone):
                await self._tell([self._dialect.refused(error, answers=False)])
                stopping = error.code == "server_stopping"
                await self._close(_GOING_AWAY if stopping else _INTERNAL, error.message)
        except ClientGone:
            log.info("a live client left")
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            self._service.worker.withdraw(job)
            self._inbox.close()  # so that the thread does not wait for more before it gives way
            self._drop()

    async def _gone(self) -> Message:
        await self._left.wait()
        return {"type": "http.disconnect"}

    # --- from the client --------------------------------------------------------------------------

    async def _read(self, first: Wish, documents: list[Document]) -> None:
        """Its events, until it leaves or is to leave."""
        try:
            await self._tell(documents)
            await self._do(first)
            while (end := await self._next()) is None:
                pass
            self._end = end
            # What is open is told, and then the connection closes.
            await self._inbox.put(Finish())
        except ClientGone:
            self._left.set()
        except Exception as error:
            log.error("a live connection failed: %s", type(error).__name__)
            log.debug("where", exc_info=error)
            self._left.set()

    async def _next(self) -> tuple[int, str] | None:
        """Take one event. With which close code and reason to end, if it is time."""
        idle_s = self._service.limits.idle_s
        try:
            async with asyncio.timeout(idle_s):
                message = await self._receive()
        except TimeoutError:
            return _POLICY, f"no event for {idle_s:g} s"
        if message["type"] == "websocket.disconnect":
            if message.get(STOPPING):
                return _GOING_AWAY, "the server is stopping"
            raise ClientGone
        text = message.get("text")
        if text is None:
            error = ApiError(400, "events are text, not binary frames.", code="invalid_event")
            await self._tell([self._dialect.refused(error, answers=False)])
            return None
        try:
            wish, documents = self._dialect.read(text, uncommitted=self._sound is not None)
            await self._tell(documents)
            if wish is not None:
                await self._do(wish)
        except ApiError as error:
            await self._tell([self._dialect.refused(error)])
        return None

    async def _do(self, wish: Wish) -> None:
        match wish:
            case Adjust():
                self._by_hand = wish.endpoint is None
                await self._order(Follow(wish.endpoint or self._service.engine.endpoint))
            case Append():
                await self._append(wish)
            case Commit():
                await self._commit()
            case Clear() if self._by_hand:
                self._drop()
                await self._tell(self._dialect.told(Cleared()))
            case _:
                await self._order(wish)

    async def _append(self, wish: Append) -> None:
        if not self._by_hand:
            if wish.pcm:
                await self._order(Feed(wish.pcm, wish.rate_hz))
            return
        if self._sound is None:
            form = Form(wish.rate_hz, 2, 1)
            self._sound = Sound(form, self._service.folder, self._service.limits)
        self._sound.write(wish.pcm)

    async def _commit(self) -> None:
        if not self._by_hand:
            await self._order(EndTurn())
            return
        if self._sound is None or self._sound.duration_s < _LEAST_UTTERANCE_S:
            await self._tell(self._dialect.told(NothingOpen()))
            return
        order = Hear(self._sound.finish())
        self._sound = None
        try:
            await self._tell(self._dialect.committed())
            await self._order(order)
        except BaseException:
            order.file.close()
            raise

    async def _order(self, order: Order) -> None:
        await self._inbox.put(order)

    def _drop(self) -> None:
        if self._sound is not None:
            self._sound.close()
            self._sound = None

    # --- to the client ----------------------------------------------------------------------------

    async def _tell(self, documents: list[Document]) -> None:
        async with self._sending:
            for document in documents:
                await self._put({"type": "websocket.send", "text": encoded(document).decode()})

    async def _close(self, code: int, reason: str) -> None:
        # A close frame has room for 123 bytes.
        short = reason.encode()[:120].decode("utf-8", "ignore")
        await self._put({"type": "websocket.close", "code": code, "reason": short})

    async def _put(self, message: dict[str, Any]) -> None:
        """Raises ClientGone, also for a client that does not read."""
        try:
            async with asyncio.timeout(self._service.limits.send_s):
                await self._send(message)
        except (OSError, TimeoutError):
            raise ClientGone from None
