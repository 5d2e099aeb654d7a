"""A live client: the openai package's own, and a bare one; every event is held against its type."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import websockets
from openai import AsyncOpenAI
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter
from websockets.asyncio.client import ClientConnection, connect

from edge_audiokv.server.engine import Engine
from edge_audiokv.server.faults import ApiError
from edge_audiokv.server.realtime.ga import Ga

RATE_HZ = 24_000
# 100 ms of it.
LOUD, QUIET = b"\x00\x40" * (RATE_HZ // 10), bytes(RATE_HZ // 5)
_EVENTS: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)


def checked(document: dict[str, Any]) -> dict[str, Any]:
    """`document`, if it is exactly what the package takes its type for."""
    event = _EVENTS.validate_python(document)
    # A name that it does not know is taken for its first type.
    assert event.type == document["type"]
    assert event.event_id.startswith("event_")
    unknown = event.model_extra or {}
    assert not unknown, unknown
    return document


class Client:
    """A connection whose events are checked; `seen` has all of them."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.seen: list[dict[str, Any]] = []

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def say(self, *pieces: bytes) -> None:
        for piece in pieces:
            audio = base64.b64encode(piece).decode()
            await self.send("input_audio_buffer.append", audio=audio)

    async def update(self, **given: Any) -> None:
        await self.send(
            "session.update", session={"type": "transcription", "audio": {"input": given}}
        )

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(10):
            text = await self.socket.recv()
        assert isinstance(text, str)
        self.seen.append(checked(json.loads(text)))
        return self.seen[-1]

    async def until(self, kind: str) -> list[dict[str, Any]]:
        """Events up to the next of that kind."""
        found = [await self.next()]
        while found[-1]["type"] != kind:
            found.append(await self.next())
        return found

    async def closed(self) -> tuple[int, str]:
        """How the server closes; what comes before is in `seen`."""
        try:
            while True:
                await self.next()
        except websockets.ConnectionClosed as closed:
            assert closed.rcvd is not None, "no close frame"
            return closed.rcvd.code, closed.rcvd.reason


class Dialect:
    """The events without a connection: what is made of one, and how it is refused."""

    def __init__(self, engine: Engine) -> None:
        self.ga = Ga(engine)

    def read(self, kind: str, *, uncommitted: bool = False, **fields: Any) -> Any:
        wish, documents = self.ga.read(
            json.dumps({"type": kind, **fields}), uncommitted=uncommitted
        )
        return wish, [checked(document) for document in documents]

    def refusal(self, kind: str, **fields: Any) -> dict[str, Any]:
        try:
            self.read(kind, **fields)
        except ApiError as error:
            refused: dict[str, Any] = checked(self.ga.refused(error))["error"]
            assert refused["message"] and refused["type"] == "invalid_request_error"
            return refused
        raise AssertionError("it was not refused")


def opened(port: int, query: str = "?intent=transcription", **options: Any) -> connect:
    options = {"compression": None, "proxy": None, **options}
    return connect(f"ws://127.0.0.1:{port}/v1/realtime{query}", **options)


def talk(port: int, work: Callable[[Client], Awaitable[Any]], **options: Any) -> Any:
    """What `work` makes of a client whose session has begun, within twenty seconds."""

    async def run() -> Any:
        async with asyncio.timeout(20), opened(port, **options) as socket:
            client = Client(socket)
            assert (await client.next())["type"] == "session.created"
            return await work(client)

    return asyncio.run(run())


def openai(port: int) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0)


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


def deltas(events: list[dict[str, Any]]) -> str:
    return "".join(event["delta"] for event in events if event["type"].endswith(".delta"))


def until(true: Callable[[], object], within_s: float = 10) -> None:
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def refused(port: int, **options: Any) -> tuple[int, dict[str, Any], dict[str, str]]:
    """The answer to an upgrade that is none: status, error, headers."""

    async def run() -> Any:
        with pytest.raises(websockets.InvalidStatus) as caught:
            async with asyncio.timeout(10), opened(port, **options):
                pass
        return caught.value.response

    response = asyncio.run(run())
    error = json.loads(response.body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return response.status_code, error, dict(response.headers.raw_items())
