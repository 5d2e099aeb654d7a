"""Several live clients of one model: each has its own session, and others what is left."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any, BinaryIO

import httpx
import pytest

from edge_audiokv.events import Final
from tests.server.realtime.talk import LOUD, QUIET, Client, deltas, opened, refused, talk, until

pytestmark = pytest.mark.alone

COMPLETED = "conversation.item.input_audio_transcription.completed"
FORM: dict[str, Any] = {"files": {"file": b"sound"}, "data": {"model": "whisper-1"}}


def http(running) -> httpx.Client:
    return httpx.Client(base_url=f"http://127.0.0.1:{running.port}", trust_env=False, timeout=10)


def transcribe(running) -> httpx.Response:
    with http(running) as client:
        return client.post("/v1/audio/transcriptions", **FORM)


def metric(running, name: str) -> float:
    with http(running) as client:
        found = re.search(
            rf"(?m)^edge_audiokv_{re.escape(name)} (\S+)$", client.get("/metrics").text
        )
    assert found is not None
    return float(found[1])


def test_each_hears_its_own_and_the_one_more_is_told_to_come_again(running, engine, other) -> None:
    engine.live_text, other.live_text = "what one says", "what two says"

    async def run() -> list[str]:
        async with asyncio.timeout(20), AsyncExitStack() as stack:
            clients = []
            for _ in range(2):
                clients.append(Client(await stack.enter_async_context(opened(running.port))))
                await clients[-1].until("session.created")
            status, error, headers = await asyncio.to_thread(refused, running.port)
            assert (status, error["code"]) == (429, "rate_limit_exceeded")
            assert headers["retry-after"] == "30"
            # Nor is there a session left for a file.
            answer = await asyncio.to_thread(transcribe, running)
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "30")
            for client in clients:
                await client.say(LOUD, LOUD, LOUD, QUIET)
            for client in clients:
                await client.until(COMPLETED)
            return [deltas(client.seen) for client in clients]

    assert asyncio.run(run()) == ["what one says", "what two says"]
    assert len(engine.followed) == len(other.followed) == 1
    # Two share the model's time, and then the one that is left has all of it.
    assert engine.shared[:2] == [1, 2] and other.shared[:1] == [2]
    until(lambda: not running.worker.n_live)
    assert (engine.forgotten, other.forgotten) == (1, 1)
    assert metric(running, "sessions") == 2 and metric(running, "sessions_live") == 0
    assert metric(running, "busy_total") == 2
    assert metric(running, 'final_latency_seconds_count{door="realtime"}') == 2
    # Work is that of all sessions.
    assert metric(running, "audio_seconds_total") == 4


def test_a_session_that_is_left_does_the_jobs(running, engine, other) -> None:
    async def work(client: Client) -> None:
        await client.say(LOUD)
        await client.until("input_audio_buffer.speech_started")
        assert (await asyncio.to_thread(transcribe, running)).status_code == 200
        with http(running) as asking:
            told = asking.get("/v1/edge/memory").json()
        assert [session["at"] for session in told["sessions"]] == ["live", ""]
        assert told["time_s"] == told["sessions"][0]["time_s"] > 0
        assert told["sessions"][1]["rows"] == 75 + 15 + 21

    talk(running.port, work)
    assert other.heard == [b"sound"] and not engine.heard


def test_live_sound_is_heard_in_the_middle_of_a_file(running, engine, monkeypatch) -> None:
    """The file's job goes on until the live client has been served."""
    served = threading.Event()

    def hear(file: BinaryIO, check: Callable[[], None]) -> Iterator[Final | None]:
        engine.files.append(file)
        engine.begun.set()
        while not served.is_set():
            check()
            time.sleep(0.002)
            yield None
        yield engine.finals[0]

    monkeypatch.setattr(engine, "hear", hear)
    answers: list[httpx.Response] = []
    file = threading.Thread(target=lambda: answers.append(transcribe(running)))
    file.start()
    assert engine.begun.wait(10)

    async def work(client: Client) -> None:
        await client.say(*[LOUD] * 5, QUIET)
        await client.until(COMPLETED)
        served.set()

    try:
        talk(running.port, work)
    finally:
        served.set()
        file.join(10)
    assert answers[0].json()["text"] == "first words"


def test_while_a_file_is_at_work_one_live_client_has_the_other_session(running, engine) -> None:
    engine.go.clear()
    file = threading.Thread(target=transcribe, args=(running,))
    file.start()
    assert engine.begun.wait(10)

    async def work(client: Client) -> None:
        status, _, headers = await asyncio.to_thread(refused, running.port)
        # That is over when the file is.
        assert status == 429 and 1 <= int(headers["retry-after"]) < 30
        engine.go.set()
        await client.say(LOUD, QUIET)
        await client.until(COMPLETED)

    talk(running.port, work)
    file.join(10)


def test_a_session_that_breaks_leaves_the_other_alone(running, engine, other, monkeypatch) -> None:
    def feed(*_: object, **__: object) -> list[Any]:
        raise RuntimeError("what was said is secret")

    monkeypatch.setattr(engine, "feed", feed)

    async def run() -> None:
        async with asyncio.timeout(20), opened(running.port) as first:
            breaking = Client(first)
            await breaking.next()
            async with opened(running.port) as second:
                talking = Client(second)
                await talking.say(LOUD)
                await talking.until("input_audio_buffer.speech_started")
                await breaking.say(LOUD)
                assert (await breaking.closed())[0] == 1011
                await talking.say(QUIET)
                await talking.until(COMPLETED)
        until(lambda: not running.worker.n_live)
        # The other one is well, and this one is known not to be until a job has ended well in it.
        assert running.worker.fault == "the last job failed in the engine"

    asyncio.run(run())
    assert transcribe(running).status_code == 200
    assert running.worker.fault == ""
