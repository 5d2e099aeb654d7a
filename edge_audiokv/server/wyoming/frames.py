"""Wyoming's frames from a client, bounded in bytes and in time.

A frame is a line of JSON (`type`, `data`, `data_length`, `payload_length`), `data_length` bytes of
more JSON and `payload_length` bytes of sound. The `wyoming` package's own reader believes any
length and waits for ever; its event classes are what is used of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from edge_audiokv.server.faults import ApiError
from edge_audiokv.server.objects import object_of

MAX_LINE_BYTES = 64 << 10
MAX_DATA_BYTES = 64 << 10
MAX_PAYLOAD_BYTES = 1 << 20
# What of a payload is in memory at a time.
_PIECE_BYTES = 32 << 10


class WatchedReader(asyncio.StreamReader):
    """A stream that tells when the other side has gone, with what it has sent still unread."""

    def __init__(self) -> None:
        super().__init__(limit=MAX_LINE_BYTES, loop=asyncio.get_running_loop())
        self.gone = asyncio.Event()

    def feed_eof(self) -> None:
        super().feed_eof()
        self.gone.set()

    def set_exception(self, exc: Exception) -> None:
        super().set_exception(exc)
        self.gone.set()


@dataclass(frozen=True)
class Frame:
    """One event without its payload, whose length alone is known so far."""

    type: str
    data: dict[str, Any]
    payload_bytes: int


class FrameReader:
    """Takes frames from `stream`: a line within `idle_s`, and what belongs to it within `frame_s`.

    Raises ApiError for what is too long, too slow or no frame, and OSError for a broken connection.
    """

    def __init__(self, stream: asyncio.StreamReader, *, idle_s: float, frame_s: float) -> None:
        self._stream = stream
        self._idle_s, self._frame_s = idle_s, frame_s
        self._left_bytes = 0

    async def next(self) -> Frame | None:
        """The next frame; None if there is none any more. An unread payload is passed over."""
        async for _ in self.payload():
            pass
        line = await self._line()
        if line is None:
            return None
        head = _object(line, "a frame")
        kind = head.get("type")
        if not isinstance(kind, str) or not kind:
            raise _bad("a frame has no type")
        data = head.get("data") or {}
        if not isinstance(data, dict):
            raise _bad("data is no object")
        n_bytes = _length(head, "data_length", MAX_DATA_BYTES)
        if n_bytes:
            data = {**data, **_object(await self._exactly(n_bytes), "data")}
        self._left_bytes = _length(head, "payload_length", MAX_PAYLOAD_BYTES)
        return Frame(kind, data, self._left_bytes)

    async def payload(self) -> AsyncIterator[bytes]:
        """The last frame's payload in pieces."""
        try:
            async with asyncio.timeout(self._frame_s):
                while self._left_bytes:
                    piece = await self._stream.read(min(_PIECE_BYTES, self._left_bytes))
                    if not piece:
                        raise _bad("a frame ends before its payload does")
                    self._left_bytes -= len(piece)
                    yield piece
        except TimeoutError:
            raise _too_slow() from None

    async def _line(self) -> bytes | None:
        try:
            async with asyncio.timeout(self._idle_s):
                return await self._stream.readuntil(b"\n")
        except TimeoutError:
            raise _too_slow() from None
        except asyncio.LimitOverrunError:
            raise _bad(f"a line has more than {MAX_LINE_BYTES} bytes") from None
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise _bad("a line does not end") from None
            return None

    async def _exactly(self, n_bytes: int) -> bytes:
        try:
            async with asyncio.timeout(self._frame_s):
                return await self._stream.readexactly(n_bytes)
        except TimeoutError:
            raise _too_slow() from None
        except asyncio.IncompleteReadError:
            raise _bad("a frame ends before its data does") from None


def _object(text: bytes, what: str) -> dict[str, Any]:
    try:
        return object_of(text)
    except ValueError as error:
        raise _bad(f"{what} {error}") from None


def _length(head: dict[str, Any], name: str, most_bytes: int) -> int:
    n_bytes = head.get(name)
    if n_bytes is None:
        return 0
    if not isinstance(n_bytes, int) or isinstance(n_bytes, bool) or n_bytes < 0:
        raise _bad(f"{name} is no length")
    if n_bytes > most_bytes:
        raise _bad(f"{name} is more than {most_bytes} bytes")
    return n_bytes


def _bad(why: str) -> ApiError:
    return ApiError(400, f"this is not Wyoming that can be read: {why}.", code="invalid_frame")


def _too_slow() -> ApiError:
    return ApiError(408, "nothing came for too long.", code="timeout")
