"""The desk in front of the model: busy before a body is read, cancelled work, a clean end."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from edge_audiokv.server.faults import ApiError
from edge_audiokv.server.worker import STALLED_S
from tests.server.scripted import BASE, Server, refusal

PATH = "/v1/audio/transcriptions"
FORM = {"files": {"file": ("a.wav", b"sound")}, "data": {"model": "whisper-1"}}


async def until(true: Any) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.005)


async def post(client: httpx.AsyncClient) -> httpx.Response:
    return await client.post(PATH, **FORM)  # type: ignore[arg-type]


def test_one_more_than_fits_is_sent_away_and_the_others_are_served(make_server, engine) -> None:
    server = make_server(queue=2)

    async def talk(client: httpx.AsyncClient) -> None:
        engine.go.clear()
        served = [asyncio.create_task(post(client)) for _ in range(3)]
        await until(lambda: server.worker.n_waiting == 2)
        for _ in range(2):
            answer = await post(client)
            assert answer.status_code == 429
            assert refusal(answer)["code"] == "rate_limit_exceeded"
            assert int(answer.headers["retry-after"]) >= 1
        engine.go.set()
        assert [answer.status_code for answer in await asyncio.gather(*served)] == [200] * 3
        assert (await post(client)).status_code == 200

    server.run(talk)
    assert len(engine.heard) == 4
    assert server.worker.busy_total == 2


def test_who_asks_again_at_once_finds_the_place_free(make_server, engine) -> None:
    server = make_server(queue=0)

    async def talk(client: httpx.AsyncClient) -> None:
        for _ in range(50):
            assert (await post(client)).status_code == 200

    server.run(talk)


class Raw:
    """One exchange with the application, message by message."""

    def __init__(self, server: Server, *, length: int = 0, headers: Any = ()) -> None:
        self.sent: list[dict[str, Any]] = []
        self.received = 0
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        request = httpx.Request("POST", BASE + PATH, **FORM)
        self.body = request.read()
        pairs = [(name.lower(), value) for name, value in request.headers.raw]
        if length:
            pairs = [
                (name, str(length).encode() if name == b"content-length" else value)
                for name, value in pairs
            ]
        scope = {
            "type": "http",
            "method": "POST",
            "path": PATH,
            "headers": [*pairs, *headers],
            "query_string": b"",
            "server": ("localhost", 80),
        }
        self.task = asyncio.create_task(server.app(scope, self.receive, self.send))

    async def receive(self) -> dict[str, Any]:
        self.received += 1
        return await self.incoming.get()

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    def put(self, body: bytes, *, more: bool = False) -> None:
        self.incoming.put_nowait({"type": "http.request", "body": body, "more_body": more})

    def leave(self) -> None:
        self.incoming.put_nowait({"type": "http.disconnect"})

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])


def test_busy_is_said_before_a_body_is_read(make_server, engine) -> None:
    server = make_server(queue=0)

    async def talk(client: httpx.AsyncClient) -> None:
        engine.go.clear()
        served = asyncio.create_task(post(client))
        await until(engine.begun.is_set)
        # Who asks whether to send is not told to.
        asking = Raw(server, headers=[(b"expect", b"100-continue")])
        await asyncio.wait_for(asking.task, 5)
        assert (asking.status, asking.received) == (429, 0)
        # Who sends at once has the answer before anything of it was read.
        sending = Raw(server)
        await until(lambda: len(sending.sent) == 2)
        assert sending.status == 429
        assert (b"connection", b"close") in sending.sent[0]["headers"]
        sending.put(sending.body)
        await asyncio.wait_for(sending.task, 5)
        engine.go.set()
        await served

    server.run(talk)


def test_a_body_that_announces_too_much_is_not_read(make_server) -> None:
    server = make_server(upload_bytes=1000)

    async def talk(client: httpx.AsyncClient) -> None:
        raw = Raw(server, length=100 << 30, headers=[(b"expect", b"100-continue")])
        await asyncio.wait_for(raw.task, 5)
        assert (raw.status, raw.received) == (413, 0)

    server.run(talk)


def test_a_body_that_grows_too_large_ends(make_server) -> None:
    server = make_server(upload_bytes=1000)
    response = server.transcribe(b"x" * 1001)
    assert response.status_code == 413
    assert server.transcribe(b"x" * 1000).status_code == 200


def test_a_body_that_stops_or_crawls_ends(make_server, engine) -> None:
    async def stops(server: Server) -> int:
        raw = Raw(server)
        raw.put(raw.body[:20], more=True)
        await asyncio.wait_for(raw.task, 5)
        return raw.status

    server = make_server(body_pause_s=0.05)
    assert server.run(lambda _: stops(server)) == 408

    async def crawls(server: Server) -> int:
        raw = Raw(server)
        for byte in raw.body:
            raw.put(bytes([byte]), more=True)
            await asyncio.sleep(0.005)
            if raw.task.done():
                break
        await asyncio.wait_for(raw.task, 5)
        return raw.status

    server = make_server(body_grace_s=0.05)
    assert server.run(lambda _: crawls(server)) == 408
    assert not engine.heard


def test_a_client_that_leaves_while_it_sends_frees_its_place(server, engine) -> None:
    async def talk(client: httpx.AsyncClient) -> None:
        raw = Raw(server)
        raw.put(raw.body[:20], more=True)
        raw.leave()
        await asyncio.wait_for(raw.task, 5)
        assert raw.sent == []
        assert server.worker.taken == 0

    server.run(talk)
    assert not engine.heard


def test_a_client_that_leaves_the_queue_is_out_at_once(make_server, engine) -> None:
    server = make_server(queue=1)

    async def talk(client: httpx.AsyncClient) -> None:
        engine.go.clear()
        served = asyncio.create_task(post(client))
        await until(engine.begun.is_set)
        for _ in range(3):
            waiting = Raw(server)
            waiting.put(waiting.body)
            await until(lambda: server.worker.n_waiting == 1)
            waiting.leave()
            await asyncio.wait_for(waiting.task, 5)
            await until(lambda: server.worker.taken == 1)
            assert server.worker.n_waiting == 0
        engine.go.set()
        assert (await served).status_code == 200

    server.run(talk)
    assert len(engine.heard) == 1


def test_a_client_that_leaves_ends_its_work(server, engine) -> None:
    async def talk(client: httpx.AsyncClient) -> None:
        engine.go.clear()
        raw = Raw(server)
        raw.put(raw.body)
        await until(engine.begun.is_set)
        raw.leave()
        await asyncio.wait_for(raw.task, 5)
        # The place is free when the step is over, and nothing of the job stays.
        assert server.worker.taken == 1
        engine.go.set()
        await until(lambda: server.worker.taken == 0)
        assert engine.heard_s == 0.0
        assert (await post(client)).json()["text"] == "first words then more"

    server.run(talk)
    assert engine.forgotten == 2


def test_a_client_that_never_reads_its_stream_is_left(make_server, engine) -> None:
    server = make_server(send_s=0.05)

    async def talk(client: httpx.AsyncClient) -> None:
        raw = Raw(server)
        raw.body = httpx.Request(
            "POST", BASE + PATH, files=FORM["files"], data={"model": "whisper-1", "stream": "true"}
        ).read()
        sends = 0

        async def stuck(message: dict[str, Any]) -> None:
            nonlocal sends
            sends += 1
            if message["type"] == "http.response.body":
                await asyncio.sleep(60)

        raw.task.cancel()
        boundary = raw.body.split(b"\r\n", 1)[0][2:]
        kind = b"multipart/form-data; boundary=" + boundary
        scope = {
            "type": "http",
            "method": "POST",
            "path": PATH,
            "headers": [(b"host", b"localhost"), (b"content-type", kind)],
            "query_string": b"",
            "server": ("localhost", 80),
        }
        raw.put(raw.body)
        await asyncio.wait_for(server.app(scope, raw.receive, stuck), 5)
        assert sends == 2

    server.run(talk)


def test_at_the_end_new_ones_are_refused_and_old_ones_told(make_server, engine) -> None:
    server = make_server(queue=2)

    async def talk(client: httpx.AsyncClient) -> None:
        engine.go.clear()
        served = [asyncio.create_task(post(client)) for _ in range(2)]
        await until(lambda: server.worker.n_waiting == 1)
        server.worker.refuse_new()
        assert (await client.get("/ready")).status_code == 503
        assert (await client.get("/health")).status_code == 200
        assert (await post(client)).status_code == 503
        server.worker.stop_jobs()
        for answer in await asyncio.gather(*served):
            assert answer.status_code == 503
            assert refusal(answer)["code"] == "server_stopping"
        engine.go.set()

    server.run(talk)


def test_no_progress_is_not_ready(server, engine, monkeypatch) -> None:
    async def talk(client: httpx.AsyncClient) -> None:
        engine.go.clear()
        served = asyncio.create_task(post(client))
        await until(engine.begun.is_set)
        assert (await client.get("/ready")).json() == {"status": "ok"}
        monkeypatch.setattr("edge_audiokv.server.worker.STALLED_S", -1.0)
        answer = await client.get("/ready")
        assert answer.status_code == 503 and "no progress" in refusal(answer)["message"]
        monkeypatch.setattr("edge_audiokv.server.worker.STALLED_S", STALLED_S)
        engine.go.set()
        await served

    server.run(talk)


def test_an_engine_that_cannot_be_cleared_is_not_ready(server, engine, monkeypatch) -> None:
    def fail() -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(engine, "forget", fail)
    server.transcribe()
    assert server.request("GET", "/ready").status_code == 503
    monkeypatch.undo()
    server.transcribe()
    assert server.request("GET", "/ready").status_code == 200


def test_the_wait_follows_what_jobs_take(make_server) -> None:
    worker = make_server(queue=0).worker
    worker.enter()
    for job_s, said in ((0.01, 1), (7.2, 8), (9999.0, 120)):
        worker._job_s = job_s
        with pytest.raises(ApiError) as busy:
            worker.enter()
        assert busy.value.retry_after_s == said
    worker.leave()
