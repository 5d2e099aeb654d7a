"""Clients that nobody wants, those that leave, and the end of the server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import websockets
from websockets.asyncio.client import connect

from edge_audiokv.errors import NativeError
from edge_audiokv.server.guard import Guard
from edge_audiokv.server.limits import MAX_EVENT_BYTES, MAX_EVENTS
from tests.server.realtime.talk import LOUD, QUIET, Client, deltas, kinds, opened, talk

pytestmark = pytest.mark.alone

COMPLETED = "conversation.item.input_audio_transcription.completed"
TEXT = "first words then more"


@pytest.fixture(autouse=True)
def nothing_is_unforeseen(caplog) -> Iterator[None]:
    """asyncio and uvicorn log what a protocol or task raises; nobody else would tell."""
    yield
    loud = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert not [
        record.getMessage() for record in loud if record.name in ("asyncio", "uvicorn.error")
    ]


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


def test_whatever_it_sends_is_refused_and_heard_on(start) -> None:
    """No event ends a connection; only what is no WebSocket message of a bearable size does."""

    async def work(client: Client) -> None:
        for message in (
            "no JSON", "", "[]", '{"type": "nonsense"}', b"\x00\x01", b"",
            '{"type": "input_audio_buffer.append", "audio": "%%%"}',
            '{"type": "input_audio_buffer.commit"}',
            "[" * 1_000_000,
            "x" * (MAX_EVENT_BYTES - 1),
        ):  # fmt: skip
            await client.socket.send(message)
            assert (await client.next())["type"] == "error"
        await client.say(LOUD, QUIET)
        assert (await client.until(COMPLETED))[-1]["transcript"] == TEXT

    talk(start().port, work)


@pytest.mark.parametrize("pieces", [1, 40])
def test_an_event_of_two_megabytes_ends_it(start, pieces) -> None:
    running = start()
    text = "x" * (2 << 20)
    size = len(text) // pieces

    async def work(client: Client) -> tuple[int, str]:
        whole = [text[at : at + size] for at in range(0, len(text), size)]
        with contextlib.suppress(websockets.ConnectionClosed):
            await client.socket.send(text if pieces == 1 else whole)
        return await client.closed()

    assert talk(running.port, work)[0] == 1009
    until(lambda: not running.worker.taken)


def test_a_heap_of_tiny_frames_ends_it(start) -> None:
    """Masked frames of no bytes: 6 bytes each, and a list of any length."""
    running = start()
    head = (
        f"GET /v1/realtime HTTP/1.1\r\nhost: 127.0.0.1:{running.port}\r\nupgrade: websocket\r\n"
        "connection: upgrade\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        "sec-websocket-version: 13\r\n\r\n"
    )
    for first, rest in ((b"\x01", b"\x00"), (b"\x81", b"\x81")):
        with running.connect(head.encode()) as raw:
            assert raw.recv(12) == b"HTTP/1.1 101"
            frames = first + b"\x80aaaa" + (rest + b"\x80aaaa") * (4 * MAX_EVENTS)
            found = b""
            with contextlib.suppress(ConnectionError):
                raw.sendall(frames)
            with contextlib.suppress(ConnectionError):
                while part := raw.recv(65536):
                    found = (found + part)[-200:]
        assert b"too many" in found
        until(lambda: not running.worker.taken)


def test_a_client_that_never_reads_is_cut_off(start) -> None:
    running = start(send_s=0.3)
    text = {"type": "input_text", "text": "x" * 4000}
    item = {"type": "message", "role": "user", "content": [text]}
    say = json.dumps({"type": "conversation.item.create", "item": item})

    async def run() -> None:
        async with opened(running.port, max_queue=1) as client:
            client.transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_RCVBUF, 4096
            )
            client.transport.pause_reading()
            with pytest.raises(websockets.ConnectionClosed):
                async with asyncio.timeout(15):
                    while True:
                        # It is told twice, so that answers pile up.
                        await client.send(say)

    asyncio.run(run())
    until(lambda: not running.worker.taken)
    until(lambda: not running.server.server_state.connections)


def test_a_client_that_leaves_in_the_middle_frees_the_model(start, engine) -> None:
    running = start(queue=0)
    for leave in ("close", "abort"):
        engine.go.clear()
        engine.begun.clear()

        async def work(client: Client, leave: str = leave) -> None:
            await client.say(LOUD)
            await asyncio.to_thread(engine.begun.wait, 10)
            if leave == "abort":
                client.socket.transport.abort()

        talk(running.port, work)
        engine.go.set()
        until(lambda: not running.worker.taken)
    assert engine.forgotten == 2

    async def hears(client: Client) -> None:
        await client.say(LOUD, QUIET)
        await client.until(COMPLETED)

    talk(running.port, hears)


def test_what_waits_for_the_model_is_bounded_and_nothing_is_lost(start, engine) -> None:
    """Ten megabytes go in while it stands still: most of them wait at the client."""
    running = start()
    engine.go.clear()
    n_pieces = 200  # of a second and 64 kB each

    async def work(client: Client) -> None:
        sent = 0

        async def send() -> None:
            nonlocal sent
            for _ in range(n_pieces):
                await client.say(LOUD * 10)
                sent += 1
            await client.say(QUIET)

        sending = asyncio.create_task(send())
        await asyncio.sleep(0.5)
        assert sent < n_pieces * 0.75
        engine.go.set()
        await client.until(COMPLETED)
        await sending

    talk(running.port, work)
    assert sum(n_bytes for n_bytes, _ in engine.fed) == 10 * n_pieces * len(LOUD) + len(QUIET)


def test_an_utterance_without_end_is_refused_and_can_still_be_committed(start, engine) -> None:
    running = start(upload_bytes=3 * len(LOUD), audio_s=60)

    async def work(client: Client) -> None:
        await client.update(turn_detection=None)
        await client.next()
        await client.say(*[LOUD] * 4)
        assert (await client.next())["error"]["code"] == "too_large"
        await client.send("input_audio_buffer.commit")
        await client.until(COMPLETED)

    talk(running.port, work)
    (data,) = engine.heard
    assert len(data) == 44 + 3 * len(LOUD)
    assert int.from_bytes(data[40:44], "little") == 3 * len(LOUD)


def test_who_says_nothing_for_long_is_let_go(start) -> None:
    async def work(client: Client) -> tuple[int, str]:
        await client.say(LOUD)
        return await client.closed()

    running = start(idle_s=0.4)

    async def run() -> tuple[tuple[int, str], list[dict[str, Any]]]:
        async with asyncio.timeout(10), opened(running.port) as opened_socket:
            client = Client(opened_socket)
            return await work(client), client.seen

    (code, reason), seen = asyncio.run(run())
    assert code == 1008 and "0.4 s" in reason
    # What it had said is told before.
    assert seen[-1]["type"] == COMPLETED
    until(lambda: not running.worker.taken)


def test_who_is_not_meant_is_refused_before_the_upgrade(start) -> None:
    port = start().port
    host, key = f"127.0.0.1:{port}", "authorization"
    assert refused(port, origin="http://evil.example")[1]["code"] == "bad_origin"
    assert refused(port, origin=f"https://{host}")[0] == 403
    assert refused(port, query="?model=gpt-5")[0] == 404
    assert refused(port, query="?intent=conversation")[0] == 400

    async def work(client: Client) -> None:
        await client.say(LOUD, QUIET)
        await client.until(COMPLETED)

    # Its own page may, and a key that nobody asked for does no harm.
    talk(port, work, origin=f"http://{host}", additional_headers={key: "Bearer none"})


def test_another_host_or_no_key_is_refused_before_the_upgrade(start) -> None:
    running = start()
    service = running.service
    head = "GET /v1/realtime HTTP/1.1\r\nhost: {}\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
    head += "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-version: 13\r\n\r\n"
    for host in ("evil.example", f"evil.example:{running.port}", "127.0.0.1:1"):
        with running.connect(head.format(host).encode()) as raw:
            assert raw.recv(12) == b"HTTP/1.1 403"
    for more in ("x: " + "y" * 10_000, "\r\n".join(["x: y"] * 300)):
        with running.connect(head.format(f"127.0.0.1:{running.port}").encode()[:-2]) as raw:
            raw.sendall(more.encode() + b"\r\n\r\n")
            assert raw.recv(12) == b"HTTP/1.1 400"
    service.guard = Guard.loopback(running.port, "0123456789abcdef")
    status, error, headers = refused(running.port)
    assert (status, error["code"]) == (401, "invalid_api_key")
    assert headers["x-should-retry"] == "false"
    wrong = {"authorization": "Bearer 0123456789abcdeg"}
    assert refused(running.port, additional_headers=wrong)[0] == 401
    assert refused(running.port, query="?api_key=0123456789abcdef")[0] == 401

    async def work(client: Client) -> None:
        pass

    right = {"authorization": "Bearer 0123456789abcdef"}
    talk(running.port, work, additional_headers=right)


def test_paths_that_speak_no_websocket_and_a_path_that_speaks_nothing_else(start) -> None:
    running = start()
    with httpx.Client(base_url=f"http://127.0.0.1:{running.port}", trust_env=False) as client:
        answer = client.get("/v1/realtime")
        assert answer.status_code == 426 and answer.headers["upgrade"] == "websocket"
        assert answer.json()["error"]["code"] == "upgrade_required"

    async def run() -> None:
        with pytest.raises(websockets.InvalidStatus) as caught:
            async with connect(f"ws://127.0.0.1:{running.port}/health", proxy=None):
                pass
        assert caught.value.response.status_code == 404

    asyncio.run(run())


def test_it_has_the_model_to_itself_and_others_are_told_to_come_again(start, engine) -> None:
    running = start(queue=2)
    form: dict[str, Any] = {"files": {"file": b"sound"}, "data": {"model": "whisper-1"}}
    path = "/v1/audio/transcriptions"

    async def work(client: Client) -> None:
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{running.port}", trust_env=False
        ) as http:
            answer = await http.post(path, **form)
            assert answer.status_code == 429 and answer.headers["retry-after"] == "30"
            text = (await http.get("/metrics")).text
            assert "edge_audiokv_queue_places_taken 3\n" in text
        with pytest.raises(websockets.InvalidStatus) as caught:
            async with opened(running.port):
                pass
        assert caught.value.response.status_code == 429

    talk(running.port, work)
    until(lambda: not running.worker.taken)
    with httpx.Client(base_url=f"http://127.0.0.1:{running.port}", trust_env=False) as http:
        assert http.post(path, **form).status_code == 200
    # And the other way round.
    with running.connect() as sending:
        request = httpx.Request("POST", f"http://127.0.0.1:{running.port}{path}", **form)
        head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
        sending.sendall(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode())
        until(lambda: running.worker.taken)
        status, error, headers = refused(running.port)
    assert (status, error["code"]) == (429, "rate_limit_exceeded")
    assert int(headers["retry-after"]) >= 1


def test_when_the_server_stops_the_last_words_are_told(start, engine) -> None:
    running = start()

    async def work(client: Client) -> tuple[int, str]:
        await client.say(LOUD, LOUD)
        await client.until("conversation.item.input_audio_transcription.delta")
        running.stop()
        return await client.closed()

    async def run() -> tuple[tuple[int, str], list[dict[str, Any]]]:
        async with asyncio.timeout(10), opened(running.port) as opened_socket:
            client = Client(opened_socket)
            return await work(client), client.seen

    (code, reason), seen = asyncio.run(run())
    assert code == 1001 and "stopping" in reason
    assert seen[-1]["type"] == COMPLETED and deltas(seen) == TEXT
    running.thread.join(10)
    assert not running.thread.is_alive()


@pytest.mark.parametrize("how", ["late", "interrupted"])
def test_a_model_that_stands_still_does_not_hold_up_the_stop(start, engine, how) -> None:
    running = start(stop_s=0.3 if how == "late" else 60.0)
    engine.go.clear()

    async def work(client: Client) -> tuple[int, str]:
        await client.say(LOUD)
        await asyncio.to_thread(engine.begun.wait, 10)
        if how == "late":
            running.stop()
        else:
            running.server.handle_exit(signal.SIGINT, None)
            await asyncio.sleep(0.3)
            running.server.handle_exit(signal.SIGINT, None)
        code = await client.closed()
        assert client.seen[-1]["error"]["code"] == "server_stopping"
        return code

    assert talk(running.port, work)[0] == 1001
    engine.go.set()
    running.thread.join(10)
    assert not running.thread.is_alive()


def test_a_model_that_breaks_is_told_and_ends_it(start, engine, monkeypatch) -> None:
    running = start()

    def feed(*_: object, **__: object) -> list[Any]:
        raise NativeError("the library refused a call.")

    monkeypatch.setattr(engine, "feed", feed)

    async def work(client: Client) -> tuple[int, str]:
        await client.say(LOUD)
        code = await client.closed()
        assert kinds(client.seen)[-1] == "error"
        assert client.seen[-1]["error"]["code"] == "engine_error"
        return code

    assert talk(running.port, work)[0] == 1011
    until(lambda: not running.worker.taken)
