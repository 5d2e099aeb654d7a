"""A request's body as it comes: bounded in bytes, in pauses and in pace."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.types import Receive

from edge_audiokv.server.faults import ApiError, too_large
from edge_audiokv.server.limits import Limits

_LINGER_S = 1.0


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


async def chunks(request: Request, limits: Limits, max_bytes: int) -> AsyncIterator[bytes]:
    """Pieces of the body. Raises ApiError 413 or 408, ClientGone.

    What is too large by its own word is refused before any of it is read.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and (len(announced) > 15 or int(announced) > max_bytes):
        raise too_large("the body", max_bytes)
    started, n_bytes, more = time.monotonic(), 0, True
    while more:
        try:
            message = await asyncio.wait_for(request.receive(), limits.body_pause_s)
        except TimeoutError:
            raise _too_slow() from None
        if message["type"] == "http.disconnect":
            raise ClientGone
        piece: bytes = message.get("body", b"")
        more = message.get("more_body", False)
        n_bytes += len(piece)
        if n_bytes > max_bytes:
            raise too_large("the body", max_bytes)
        late_s = time.monotonic() - started - limits.body_grace_s
        if more and late_s > 0 and n_bytes < late_s * limits.body_bytes_per_s:
            raise _too_slow()
        if piece:
            yield piece


async def linger(receive: Receive, max_bytes: int) -> None:
    """Let a client finish a little of what it sends, unread, so that it comes to read the answer.

    A socket that is closed with bytes unread may take the answer with it.
    """
    n_bytes, more = 0, True
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LINGER_S):
            while more and n_bytes < max_bytes:
                message = await receive()
                n_bytes += len(message.get("body", b""))
                more = message.get("more_body", False)


def _too_slow() -> ApiError:
    return ApiError(408, "the body came too slowly.", code="timeout")
