"""Server-sent events, one JSON document each, to a client that may stop reading or go away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from edge_audiokv.server.body import ClientGone
from edge_audiokv.server.faults import ApiError, encoded

log = logging.getLogger("edge_audiokv.server")
_HEADERS = {
    "cache-control": "no-cache",
    # Proxies would gather events otherwise.
    "x-accel-buffering": "no",
}


class EventStream(Response):
    """Sends what `documents` yields; a text is sent as it is. An ApiError on the way becomes the
    last document, which clients raise.
    """

    def __init__(self, documents: AsyncGenerator[object], *, send_s: float) -> None:
        super().__init__(headers=_HEADERS, media_type="text/event-stream")
        del self.headers["content-length"]
        self._documents = documents
        self._send_s = send_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def put(data: bytes, *, more: bool = True) -> None:
            message = {"type": "http.response.body", "body": data, "more_body": more}
            # A client that does not read must not keep what waits for it.
            await asyncio.wait_for(send(message), self._send_s)

        await send(
            {"type": "http.response.start", "status": 200, "headers": self.raw_headers},
        )
        try:
            async with aclosing(self._documents):
                async for document in self._documents:
                    await put(_event(document))
        except ApiError as error:
            await put(_event(error.body()))
        except (ClientGone, TimeoutError):
            log.info("a client left its stream")
            return
        await put(b"", more=False)


def _event(document: object) -> bytes:
    data = document.encode() if isinstance(document, str) else encoded(document)
    return b"data: " + data + b"\n\n"
