"""Clients that nobody wants: what they send, what they hold, and who they are."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import socket
import tracemalloc

import httpx
import pytest
import websockets
from websockets.asyncio.client import connect

from edge_audiokv.server.guard import Guard
from edge_audiokv.server.limits import MAX_EVENT_BYTES, MAX_EVENTS, REQUESTS_BYTES
from tests.server.realtime.talk import LOUD, QUIET, RATE_HZ, Client, opened, refused, talk, until

pytestmark = pytest.mark.alone

COMPLETED = "conversation.item.input_audio_transcription.completed"
UPGRADE = (
    "GET /v1/realtime HTTP/1.1\r\nhost: {}\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
    "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-version: 13\r\n\r\n"
)
TEXT = "first words then more"


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
    head = UPGRADE.format(f"127.0.0.1:{running.port}")
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


@pytest.mark.parametrize("name", ["sec-websocket-version", "sec-websocket-key"])
def test_an_upgrade_with_bytes_that_are_no_text_is_refused(start, name) -> None:
    """Refusing it by quoting it, the library would fail in the middle of the loop."""
    running = start()
    head = UPGRADE.format(f"127.0.0.1:{running.port}").replace(f"{name}: ", "y: ")
    with running.connect(f"{head[:-2]}{name}: 13\xc3\x99\r\n\r\n".encode("latin-1")) as raw:
        answer = b""
        while part := raw.recv(65536):
            answer += part
    status, _, body = answer.partition(b"\r\n\r\n")
    assert status.startswith(b"HTTP/1.1 400 ")
    assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
    assert not running.worker.taken


def test_a_cookie_may_have_any_bytes(start) -> None:
    """Browsers send those of every program on this machine."""
    running = start()
    head = UPGRADE.format(f"127.0.0.1:{running.port}")
    with running.connect(f"{head[:-2]}cookie: \xc3\xbc=\xff\r\n\r\n".encode("latin-1")) as raw:
        assert raw.recv(12) == b"HTTP/1.1 101"


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


@pytest.mark.parametrize(("upload_bytes", "n_pieces"), [(1 << 20, 500), (25 << 20, 200)])
def test_what_waits_for_the_model_is_bounded_and_nothing_is_lost(
    start, engine, tmp_path, upload_bytes, n_pieces
) -> None:
    """It stands still: ten megabytes lie on disk, or most of 24 wait at the client."""
    running = start(upload_bytes=upload_bytes)
    engine.go.clear()
    pieces = [
        bytes([number % 256, 64]) * (RATE_HZ * (1 + number % 3) // 2) for number in range(n_pieces)
    ]
    pieces.append(QUIET)

    async def work(client: Client) -> None:
        sending = asyncio.create_task(client.say(*pieces))
        ready, _ = await asyncio.wait([sending], timeout=1 if upload_bytes < 2 << 20 else 10)
        assert bool(ready) == (upload_bytes > 2 << 20)
        # A client that is not blocked has its pings answered.
        if ready:
            await (await client.socket.ping())
        assert not list(tmp_path.iterdir())
        engine.go.set()
        await client.until(COMPLETED)
        await sending

    talk(running.port, work)
    assert sum(n_bytes for n_bytes, _ in engine.fed) == sum(map(len, pieces))
    assert engine.sound.digest() == hashlib.sha256(b"".join(pieces)).digest()


def test_all_that_a_live_client_can_make_it_hold_is_counted(start, engine) -> None:
    """The largest events there are, as fast as they go in, while the model stands still."""
    running = start()
    engine.go.clear()
    audio = "A" * (MAX_EVENT_BYTES - 100 & ~3)
    text = json.dumps({"type": "input_audio_buffer.append", "audio": audio}).encode()
    # A mask of zeros changes nothing.
    frame = b"\x81\xff" + len(text).to_bytes(8, "big") + bytes(4) + text
    head = UPGRADE.format(f"127.0.0.1:{running.port}").encode()
    with running.connect(head) as raw:
        assert raw.recv(12) == b"HTTP/1.1 101"
        raw.settimeout(1)
        tracemalloc.start()
        try:
            with contextlib.suppress(TimeoutError):
                for _ in range(100):
                    raw.sendall(frame)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    engine.go.set()
    assert MAX_EVENT_BYTES < peak_bytes < REQUESTS_BYTES
    until(lambda: not running.worker.taken)


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


def test_another_host_or_no_key_is_refused_before_the_upgrade(start, caplog) -> None:
    running = start()

    async def work(client: Client) -> None:
        pass

    service = running.service
    head = UPGRADE
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
    with caplog.at_level(logging.DEBUG):
        assert refused(running.port, query="?api_key=0123456789abcdef")[0] == 401
        right = {"authorization": "Bearer 0123456789abcdef"}
        talk(running.port, work, query="?model=scripted&a=secret", additional_headers=right)
    logged = [it.getMessage() for it in caplog.records if not it.name.startswith("websockets")]
    # The client's own library tells what it likes; none of ours tells addresses or keys.
    assert any("/v1/realtime 401" in line for line in logged)
    assert not [line for line in logged if "0123456789abcdef" in line or "secret" in line]
    running.worker.refuse_new()
    status, error, headers = refused(running.port, additional_headers=right)
    assert (status, error["code"], headers["retry-after"]) == (503, "server_stopping", "5")


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
