"""Who has the model, and how talks end: clients that leave, stops, a model that breaks."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from typing import Any

import httpx
import pytest
import websockets
from websockets.asyncio.client import unix_connect

from edge_audiokv.errors import NativeError
from edge_audiokv.server.limits import Limits
from edge_audiokv.server.listening import open_unix
from tests.server.house import Running
from tests.server.realtime.talk import (
    LOUD,
    QUIET,
    Client,
    deltas,
    kinds,
    opened,
    refused,
    talk,
    until,
)

pytestmark = pytest.mark.alone

TEXT = "first words then more"
COMPLETED = "conversation.item.input_audio_transcription.completed"


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


def test_who_comes_as_another_leaves_is_let_in(start, engine) -> None:
    """As LiveKit's plug-in comes again every ten minutes: it closes, and connects at once."""
    running = start()
    engine.go.clear()

    async def leave(client: Client) -> None:
        await client.say(LOUD)
        await asyncio.to_thread(engine.begun.wait, 10)

    async def hears(client: Client) -> str:
        await client.say(LOUD, QUIET)
        return str((await client.until(COMPLETED))[-1]["transcript"])

    talk(running.port, leave)
    assert running.worker.taken
    threading.Timer(0.3, engine.go.set).start()
    assert talk(running.port, hears) == TEXT


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
    until(lambda: running.worker.jobs_total)
    # Waiting for its client is no work of the model's.
    assert running.worker.job_seconds_total < 0.2


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


@pytest.mark.skipif(os.name != "posix", reason="Unix sockets")
def test_a_unix_socket_is_a_way_in(engine, tmp_path) -> None:
    path = tmp_path / "s"
    running = Running(engine, tmp_path, Limits())

    async def run() -> None:
        # No browser reaches it: there any name will do.
        async with (
            asyncio.timeout(10),
            unix_connect(str(path), "ws://anything/v1/realtime") as opened_socket,
        ):
            client = Client(opened_socket)
            await client.say(LOUD, QUIET)
            assert (await client.until(COMPLETED))[-1]["transcript"] == TEXT

    with open_unix(path) as bound:
        running.sockets.append(bound)
        running.start()
        try:
            asyncio.run(run())
        finally:
            running.end()


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
