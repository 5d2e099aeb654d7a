"""Real sockets without a model: deadlines, bounds on connections, and a stop that answers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from edge_audiokv.server.limits import MAX_HEADER_BYTES, Limits
from edge_audiokv.server.listening import open_unix
from edge_audiokv.server.run import serve
from tests.server import house
from tests.server.house import starting
from tests.server.scripted import FINALS

pytestmark = pytest.mark.alone

FORM: dict[str, Any] = {"files": {"file": b"sound"}, "data": {"model": "whisper-1"}}
PATH = "/v1/audio/transcriptions"


class Running(house.Running):
    """With what the tests of HTTP use of it."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, trust_env=False, timeout=10, **options)


def all_of(connection: socket.socket) -> bytes:
    """What comes until the other side ends."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


@pytest.fixture
def start(engine, tmp_path) -> Iterator[Callable[..., Running]]:
    yield from starting(Running, engine, tmp_path)


def test_it_answers_and_keeps_the_connection(start) -> None:
    running = start()
    with running.client() as client:
        for _ in range(2):
            assert client.post(PATH, **FORM).json()["text"] == "first words then more"
        assert len(running.server.server_state.connections) == 1
        answer = client.get("/health")
    assert "server" not in answer.headers


def test_headers_that_drip_or_never_come_end_in_time(start) -> None:
    running = start(header_s=0.3)
    silent, half = running.connect(), running.connect(b"GET /health HTT")
    started = time.monotonic()
    with running.connect(b"GET /health HTTP/1.1\r\n") as drip:
        with contextlib.suppress(OSError):
            for _ in range(200):
                drip.sendall(b"a: b\r\n")
                time.sleep(0.02)
        assert all_of(drip) == b""
    for connection in (silent, half):
        with connection:
            assert all_of(connection) == b""
    assert time.monotonic() - started < 3
    with running.client() as client:
        assert client.get("/health").status_code == 200


def test_the_deadline_holds_for_a_second_request_too(start) -> None:
    running = start(header_s=0.3)
    with running.connect(
        b"GET /health HTTP/1.1\r\nhost: 127.0.0.1:%d\r\n\r\n" % running.port
    ) as it:
        answer = b""
        while not answer.endswith(b"}"):
            answer += it.recv(4096)
        it.sendall(b"GET /hea")
        assert all_of(it) == b""


def test_a_body_after_its_answer_is_not_read_for_ever(start) -> None:
    """100 GB are announced; the refusal comes at once, and soon the connection ends."""
    running = start(header_s=0.3)
    head = (
        f"POST {PATH} HTTP/1.1\r\nhost: 127.0.0.1:{running.port}\r\n"
        f"content-type: multipart/form-data; boundary=b\r\ncontent-length: {100 << 30}\r\n\r\n"
    )
    with running.connect(head.encode()) as sending:
        started = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - started < 8:
                sending.sendall(b"x" * 65536)
                time.sleep(0.01)
        assert time.monotonic() - started < 5
        assert all_of(sending).startswith(b"HTTP/1.1 413")


def test_an_answer_that_nobody_reads_does_not_keep_its_connection(start, engine) -> None:
    """An hour's words are more than a socket takes."""
    running = start(send_s=0.3)
    engine.finals = tuple(replace(FINALS[0], id=id, text="word " * 2000) for id in range(2000))
    request = httpx.Request("POST", running.url + PATH, **FORM)
    content = request.read()
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    with running.connect() as deaf:
        deaf.sendall(f"POST {PATH} HTTP/1.1\r\n{head}connection: close\r\n\r\n".encode())
        deaf.sendall(content)
        deadline = time.monotonic() + 10
        while not engine.forgotten or running.server.server_state.connections:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_who_asks_on_and_reads_nothing_is_left(start) -> None:
    running = start(send_s=0.3)
    with running.connect() as deaf:
        deaf.settimeout(0.2)
        ask = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n" * 2000
        deadline = time.monotonic() + 20
        with contextlib.suppress(OSError):  # until nothing more goes in, or it is closed
            while time.monotonic() < deadline:
                deaf.sendall(ask)
        while running.server.server_state.connections:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_too_many_connections_are_turned_away_and_room_comes_back(start) -> None:
    running = start(connections=5, header_s=0.5)
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(running.connect()) for _ in range(20)]
        assert all(all_of(connection) == b"" for connection in idle)
    with running.client() as client:
        assert client.get("/health").status_code == 200


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"GET / HTTP/1.1\r\nconnection: close\r\nx: " + b"y" * (2 * MAX_HEADER_BYTES) + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5, 6\r\n\r\n",
    ],
    ids=lambda data: repr(data[:24]),
)
def test_what_is_no_http_is_refused_in_the_one_form(start, data) -> None:
    running = start(header_s=0.5)
    with running.connect(data) as connection:
        head, _, body = all_of(connection).partition(b"\r\n\r\n")
    assert head.startswith((b"HTTP/1.1 400", b"HTTP/1.1 431"))
    assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
    with running.client() as client:
        assert client.get("/health").status_code == 200


def test_a_client_that_closes_while_it_waits_frees_its_place(start, engine) -> None:
    running = start(queue=0)
    engine.go.clear()
    body = httpx.Request("POST", running.url + PATH, **FORM)
    content = body.read()
    head = "".join(f"{name}: {value}\r\n" for name, value in body.headers.items())
    with running.connect(f"POST {PATH} HTTP/1.1\r\n{head}\r\n".encode() + content):
        assert engine.begun.wait(10)
        with running.client() as client:
            assert client.post(PATH, **FORM).status_code == 429
    engine.go.set()
    deadline = time.monotonic() + 10
    while running.worker.taken and time.monotonic() < deadline:
        time.sleep(0.01)
    with running.client() as client:
        assert client.post(PATH, **FORM).status_code == 200


def in_thread(work: Callable[[], httpx.Response]) -> tuple[threading.Thread, list[Any]]:
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(work())
        except Exception as error:  # told by the test
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, found


def test_who_is_being_answered_when_it_stops_gets_the_answer(start, engine) -> None:
    running = start()
    engine.go.clear()
    with running.client() as client:
        thread, found = in_thread(lambda: client.post(PATH, **FORM))
        assert engine.begun.wait(10)
        running.stop()
        time.sleep(0.3)
        with pytest.raises(OSError):
            running.connect()
        engine.go.set()
        thread.join(10)
    assert found[0].json()["text"] == "first words then more"
    running.thread.join(10)
    assert not running.thread.is_alive()


def test_work_that_outlasts_the_stop_is_broken_off_and_told(start, engine) -> None:
    running = start(stop_s=0.3)
    engine.go.clear()
    with running.client() as client:
        thread, found = in_thread(lambda: client.post(PATH, **FORM))
        assert engine.begun.wait(10)
        running.stop()
        thread.join(10)
        assert found[0].status_code == 503
        assert found[0].json()["error"]["code"] == "server_stopping"
    engine.go.set()
    running.thread.join(10)
    assert not running.thread.is_alive()


def test_a_second_interrupt_breaks_off_what_is_answered(start, engine) -> None:
    running = start(stop_s=60.0)
    engine.go.clear()
    with running.client() as client:
        thread, found = in_thread(lambda: client.post(PATH, **FORM))
        assert engine.begun.wait(10)
        running.server.handle_exit(signal.SIGINT, None)
        time.sleep(0.3)
        assert not found
        running.server.handle_exit(signal.SIGINT, None)
        thread.join(10)
        assert found[0].status_code == 503
        assert found[0].json()["error"]["code"] == "server_stopping"
    engine.go.set()
    running.thread.join(10)
    assert not running.thread.is_alive()


def test_an_interrupt_tells_so_by_its_code_where_a_shell_had_it_ignored(engine, tmp_path) -> None:
    """As one without job control starts what runs behind."""
    running = Running(engine, tmp_path, Limits())

    def interrupt() -> None:
        with running.client() as client:
            assert client.get("/health").status_code == 200
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        running.sockets[0].listen()
        thread, _ = in_thread(interrupt)
        with pytest.raises(KeyboardInterrupt):
            serve(running.service, running.sockets)
        thread.join(10)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.skipif(os.name != "posix", reason="Unix sockets")
def test_a_unix_socket_needs_no_name(engine, tmp_path) -> None:
    path = tmp_path / "s"
    running = Running(engine, tmp_path, Limits())
    with open_unix(path) as bound:
        running.sockets.append(bound)
        running.start()
        try:
            with httpx.Client(
                transport=httpx.HTTPTransport(uds=str(path), trust_env=False),
                base_url="http://anything",
            ) as client:
                assert client.post(PATH, **FORM).status_code == 200
                origin = {"origin": "http://evil.example"}
                assert client.get("/health", headers=origin).status_code == 403
            with running.client(headers={"host": "anything"}) as client:
                assert client.get("/health").status_code == 403
        finally:
            running.end()
