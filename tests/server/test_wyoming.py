"""Wyoming with the protocol's own client, and with clients that nobody wants."""

from __future__ import annotations

import asyncio
import json
import socket
import time
import tracemalloc
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from wyoming.asr import Transcribe
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient, AsyncUnixClient
from wyoming.event import Event
from wyoming.info import Describe, Info
from wyoming.ping import Ping

from edge_audiokv.errors import EdgeAudioKVError
from edge_audiokv.server.limits import REQUESTS_BYTES, Limits
from edge_audiokv.server.run import Door
from edge_audiokv.server.service import Service
from edge_audiokv.server.wyoming.address import open_address
from edge_audiokv.server.wyoming.door import MAX_CONNECTIONS, WyomingDoor
from edge_audiokv.server.wyoming.frames import MAX_DATA_BYTES, MAX_LINE_BYTES

from .house import House, starting

FORM = {"rate": 16000, "width": 2, "channels": 1}
PIECE = AudioChunk(**FORM, audio=bytes(3200))
TEXT = "first words then more"


@pytest.fixture
def start(engine, tmp_path) -> Iterator[Callable[..., House]]:
    yield from starting(House, engine, tmp_path)


def talk(port: int, work: Callable[[AsyncTcpClient], Coroutine[Any, Any, Any]]) -> Any:
    """What `work` makes of a client, within ten seconds."""

    async def run() -> Any:
        async with asyncio.timeout(10), AsyncTcpClient("127.0.0.1", port) as client:
            return await work(client)

    return asyncio.run(run())


async def say(client: AsyncTcpClient | AsyncUnixClient, *, language: str | None = "en") -> None:
    for event in (Transcribe(language=language), AudioStart(**FORM), PIECE, PIECE, AudioStop()):
        await client.write_event(event.event())


async def answer(client: AsyncTcpClient | AsyncUnixClient) -> list[Event]:
    """All events up to the last of a transcript, or an error."""
    found: list[Event] = []
    while not found or found[-1].type not in ("transcript-stop", "error"):
        event = await client.read_event()
        if event is None:
            break
        found.append(event)
    return found


async def heard(client: AsyncTcpClient | AsyncUnixClient) -> list[Event]:
    await say(client)
    return await answer(client)


def frame(kind: str, **more: Any) -> bytes:
    return json.dumps({"type": kind, **more}).encode() + b"\n"


def all_of(connection: socket.socket) -> bytes:
    parts = []
    with suppress(ConnectionResetError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def test_it_says_what_it_has(start) -> None:
    async def ask(client: AsyncTcpClient) -> tuple[Event | None, Event | None]:
        await client.write_event(Describe().event())
        await client.write_event(Ping("there?").event())
        return await client.read_event(), await client.read_event()

    said, pong = talk(start().port, ask)
    (program,) = Info.from_event(said).asr
    assert program.supports_transcript_streaming and program.version
    assert program.models[0].name == "scripted" and program.models[0].languages == ["en"]
    assert pong.data == {"text": "there?"}


def test_an_utterance_is_written_piece_by_piece_and_whole(start, engine) -> None:
    events = talk(start().port, heard)
    kinds = [event.type for event in events]
    assert kinds == [
        "transcript-start", "transcript-chunk", "transcript-chunk", "transcript", "transcript-stop"
    ]  # fmt: skip
    assert "".join(event.data["text"] for event in events[1:3]) == TEXT
    assert events[3].data == {"text": TEXT, "language": "en"}
    (data,) = engine.heard
    assert data[:4] == b"RIFF" and len(data) == 44 + 6400
    assert int.from_bytes(data[40:44], "little") == 6400


def test_a_unix_socket_is_a_way_in(engine, tmp_path) -> None:
    class OnUnix(House):
        def doors(self, service: Service) -> list[Door]:
            self.opened = open_address(f"unix://{tmp_path}/w")
            return [WyomingDoor(service, [self.opened.__enter__()])]

    async def talked() -> list[Event]:
        async with asyncio.timeout(10), AsyncUnixClient(tmp_path / "w") as client:
            return await heard(client)

    running = OnUnix(engine, tmp_path, Limits())
    running.start()
    try:
        assert asyncio.run(talked())[-2].data["text"] == TEXT
    finally:
        running.end()
        running.opened.__exit__(None, None, None)


def test_several_utterances_on_one_connection(start) -> None:
    async def twice(client: AsyncTcpClient) -> list[list[Event]]:
        return [await heard(client), await heard(client)]

    running = start()
    for events in talk(running.port, twice):
        assert events[-2].data["text"] == TEXT
    # How late each text was is counted.
    assert dict(running.service.latencies.samples())['_count{door="wyoming"}'] == 2


def test_who_says_nothing_gets_an_empty_text(start, engine) -> None:
    engine.finals = ()
    events = talk(start().port, heard)
    assert [event.type for event in events] == [
        "transcript-start", "transcript", "transcript-stop"
    ]  # fmt: skip
    assert events[1].data["text"] == ""


def test_describe_is_answered_while_the_model_is_busy(start, engine) -> None:
    running = start(queue=0)
    engine.go.clear()

    async def both(client: AsyncTcpClient) -> tuple[Event | None, list[Event]]:
        await say(client)
        while not engine.begun.is_set():
            await asyncio.sleep(0.01)
        async with AsyncTcpClient("127.0.0.1", running.port) as other:
            await other.write_event(Describe().event())
            async with asyncio.timeout(1):
                info = await other.read_event()
            await other.write_event(AudioStart(**FORM).event())
            refusal = await answer(other)
        engine.go.set()
        assert (await answer(client))[-2].data["text"] == TEXT
        return info, refusal

    info, refusal = talk(running.port, both)
    assert info is not None and info.type == "info"
    assert refusal[-1].data["code"] == "rate_limit_exceeded"


def test_who_leaves_gives_the_place_back(start, engine) -> None:
    running = start(queue=0)
    engine.go.clear()
    with running.connect() as gone:
        for kind in ("audio-start", "audio-stop"):
            gone.sendall(frame(kind, data=FORM))
        assert engine.begun.wait(10)
    engine.go.set()
    deadline = time.monotonic() + 10
    while running.worker.taken and time.monotonic() < deadline:
        time.sleep(0.01)
    assert talk(running.port, heard)[-2].data["text"] == TEXT


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x00" * 70000,
        b"[" * 60000 + b"\n",
        b"[]\n",
        b"{}\n",
        b'{"type": 7}\n',
        b'{"type": "ping", "data": [1]}\n',
        b'{"type": "ping", "data": NaN}\n',
        frame("ping", data_length=100_000_000_000),
        frame("ping", data_length="7"),
        frame("ping", data_length=-1),
        frame("ping", data_length=2) + b"[]",
        frame("ping", data_length=True) + b"1",
        frame("audio-chunk", payload_length=200_000_000),
        frame("audio-chunk", data=FORM, payload_length=2) + b"xx",
        frame("audio-stop"),
        frame("audio-start"),
        frame("audio-start", data={**FORM, "rate": 10**9}),
        frame("audio-start", data={**FORM, "rate": 16000.5}),
        frame("audio-start", data={**FORM, "width": 1}),
        frame("audio-start", data={**FORM, "channels": 0}),
        frame("audio-start", data=FORM) * 2,
        frame("audio-start", data=FORM)
        + frame("audio-chunk", data={**FORM, "rate": 8000}, payload_length=2) + b"xx",
        frame("transcribe", data={"language": "zh"}),
        frame("transcribe", data={"language": {}, "name": "scripted"}),
        frame("transcribe", data={"name": "other"}),
    ],
)  # fmt: skip
def test_what_cannot_be_honoured_is_refused_and_ends(start, data) -> None:
    running = start()
    with running.connect(data) as connection:
        (line, *rest) = all_of(connection).split(b"\n", 1)
    refusal = json.loads(line)
    assert refusal["type"] == "error"
    assert json.loads(rest[0][: refusal["data_length"]])["text"]
    assert talk(running.port, heard)[-2].data["text"] == TEXT


def test_more_sound_than_is_allowed(start) -> None:
    running = start(upload_bytes=4000)
    assert talk(running.port, heard)[-1].data["code"] == "too_large"
    running = start(audio_s=0.15)
    assert talk(running.port, heard)[-1].data["code"] == "audio_too_long"


def test_a_refusal_reaches_who_is_still_sending(start) -> None:
    running = start(upload_bytes=4000)
    chunk = frame("audio-chunk", data=FORM, payload_length=3200) + bytes(3200)
    with running.connect(frame("audio-start", data=FORM)) as connection:
        for _ in range(20):
            connection.sendall(chunk)
            time.sleep(0.01)
        assert b"too_large" in all_of(connection)
    assert running.worker.taken == 0


@pytest.mark.parametrize(
    "data", [b"", b'{"type', frame("ping", data_length=9), frame("audio-start", data=FORM)]
)
def test_who_does_not_go_on_is_left(start, data) -> None:
    running = start(send_s=0.3, body_pause_s=0.3, queue=0)
    with running.connect(data) as connection:
        assert b"timeout" in all_of(connection)
    assert talk(running.port, heard)[-2].data["text"] == TEXT


def test_sound_that_drips_is_left(start) -> None:
    running = start(body_grace_s=0.2, send_s=1.0)
    with running.connect(frame("audio-start", data=FORM)) as connection, suppress(OSError):
        for _ in range(40):
            connection.sendall(frame("audio-chunk", data=FORM, payload_length=2) + b"xx")
            time.sleep(0.05)
    assert running.worker.taken == 0


def test_what_is_not_known_is_passed_over(start) -> None:
    running = start()

    async def odd(client: AsyncTcpClient) -> list[Event]:
        await client.write_event(Event("select-program", {"name": "edge-audiokv"}))
        await client.write_event(Event("played", {"x": 1}, bytes(100_000)))
        return await heard(client)

    assert talk(running.port, odd)[-2].data["text"] == TEXT


def test_too_many_connections_are_turned_away(start) -> None:
    running = start()
    held = [running.connect() for _ in range(MAX_CONNECTIONS)]
    time.sleep(0.2)
    with running.connect() as one_more:
        assert all_of(one_more) == b""
    for each in held:
        each.close()
    time.sleep(0.2)
    assert talk(running.port, heard)[-2].data["text"] == TEXT


def test_connections_that_hold_all_they_can_fit_in_what_requests_are_given(start) -> None:
    """A line without an end, and data that stop before their end, as long as they may be."""
    running = start(send_s=10.0, body_pause_s=10.0)
    head = json.dumps({"type": "ping", "data_length": MAX_DATA_BYTES}).encode() + b"\n"
    most = [b"x" * (MAX_LINE_BYTES - 1), head + b"x" * (MAX_DATA_BYTES - 1)]
    tracemalloc.start()
    try:
        before_bytes, _ = tracemalloc.get_traced_memory()
        clients = [running.connect(most[n % 2]) for n in range(MAX_CONNECTIONS)]
        time.sleep(0.5)
        held_bytes = tracemalloc.get_traced_memory()[0] - before_bytes
        for client in clients:
            client.close()
    finally:
        tracemalloc.stop()
    # They are there, and leave room for HTTP's.
    assert MAX_CONNECTIONS * 60_000 < held_bytes < REQUESTS_BYTES // 3


def test_who_is_being_answered_when_it_stops_gets_the_answer(start, engine) -> None:
    running = start()
    engine.go.clear()
    idle = running.connect()

    async def stop(client: AsyncTcpClient) -> list[Event]:
        await say(client)
        while not engine.begun.is_set():
            await asyncio.sleep(0.01)
        running.server.should_exit = True
        await asyncio.sleep(0.5)
        engine.go.set()
        return await answer(client)

    assert talk(running.port, stop)[-2].data["text"] == TEXT
    with idle:
        assert all_of(idle) == b""


@pytest.mark.parametrize(
    "uri",
    ["", "10300", "tcp://", "http://127.0.0.1:1", "tcp://127.0.0.1:x", "tcp://0.0.0.0:10300",
     "tcp://192.168.1.5", "unix://", "tcp://[::1", "tcp://127.0.0.1:99999", "unix:///nowhere/s"],
)  # fmt: skip
def test_addresses_that_cannot_be_are_told(uri: str) -> None:
    with pytest.raises(EdgeAudioKVError) as caught, open_address(uri):
        pass
    assert caught.value.cure and "--host" not in caught.value.cure


def test_addresses_that_can_be(tmp_path) -> None:
    with open_address("tcp://localhost:0") as bound:
        assert bound.getsockname()[1]
    with open_address(f"unix://{tmp_path}/s") as bound:
        assert Path(bound.getsockname()).exists()
    assert not (tmp_path / "s").exists()
