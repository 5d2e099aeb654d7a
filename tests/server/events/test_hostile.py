"""Clients that nobody wants: each gets an answer or an end, and the others notice nothing."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
import tracemalloc
from contextlib import suppress

import pytest

from edge_audiokv.events import Evicted, Final, MemoryReport, Partial
from edge_audiokv.server.events.door import MAX_CONNECTIONS
from edge_audiokv.server.events.lines import COMMANDS, MAX_LINE_BYTES
from edge_audiokv.server.events.outbox import MAX_HELD_BYTES, MAX_PASSING, Outbox, encoded
from edge_audiokv.server.limits import REQUESTS_BYTES
from tests.server.events.conftest import shut

PASSING = ("partial", "memory-report")


@pytest.fixture(autouse=True)
def faults(caplog):
    """Nothing that a client does is a failure of the server's."""
    caplog.set_level(logging.ERROR)
    yield
    assert not caplog.records, caplog.text


BAD_LINES = [
    b"nonsense",
    b"[1]",
    b'"status"',
    b"\xff\xfe\x00",
    b'{"command": "status"',
    b"[" * 8000,
    b"1" * 8000,
    b'{"command": "status", "id": NaN}',
    b'{"command": "status", "id": {"a": 1}}',
    b'{"command": "status", "id": true}',
    b'{"command": "status", "id": ' + b"9" * 5000 + b"}",
    b'{"command": "status", "id": "' + b"x" * 200 + b'"}',
    b'{"id": 1}',
    b'{"command": null}',
    b'{"command": ["status"]}',
    b'{"command": "listen", "device": ""}',
    b'{"command": "listen", "device": true}',
    b'{"command": "listen", "device": -1}',
    b'{"command": "listen", "device": ["a"]}',
    b'{"command": "ask", "question": 7}',
    b'{"command": "ask", "question": null}',
]


def test_a_line_that_is_no_command_is_refused_and_the_next_is_answered(caller, running) -> None:
    for line in BAD_LINES:
        caller.socket.sendall(line + b"\n\n")
        told = caller.next()
        assert told is not None, line
        assert told["type"] == "error" and told["message"] and told["cure"], line
        assert caller.ask("status")["type"] == "reply"
    assert running.devices == []


def test_what_is_not_known_is_told_with_the_choices(caller) -> None:
    told = caller.ask("dance")
    assert all(name in told["cure"] for name in COMMANDS) and "dance" in told["message"]
    told = caller.ask("listen", volume=3)
    assert "volume" in told["message"] and "device" in told["cure"]


def test_nothing_that_a_client_says_reads_or_writes_a_file(caller, running, tmp_path) -> None:
    path = tmp_path / "file"
    for field in ("path", "file", "source", "url", "archive", "save_audio", "model"):
        told = caller.ask("listen", **{field: str(path)})
        assert told["type"] == "error" and field in told["message"] and running.devices == []
    # The name of a device is looked for among devices alone; see test_source.py.
    caller.ask("listen", device=str(path))
    assert running.devices == [str(path)] and not path.exists()


def test_the_id_comes_back_as_it_is(caller) -> None:
    for id in ("", "a\u2028\x00b", -5, 2**52, None):
        caller.send(id=id, command="status")
        told = caller.next()
        assert told is not None and told["type"] == "reply" and told["id"] == id


@pytest.mark.parametrize("data", [b'{"command"', b"x" * 100])
def test_half_a_line_ends_in_time_and_silence_does_not(start, connect, data) -> None:
    running = start(body_pause_s=0.2)
    silent, half = connect(running), connect(running, data)
    told = half.rest()
    assert len(told) == 1 and "0.2 s" in told[0]["message"] and told[0]["id"] is None
    time.sleep(0.3)
    assert silent.ask("status")["type"] == "reply"


def test_a_line_that_drips_ends_in_time(start, connect) -> None:
    running = start(body_pause_s=0.3)
    drip = connect(running)
    began_s = time.monotonic()
    with suppress(OSError):
        while time.monotonic() - began_s < 5:
            drip.socket.sendall(b"x")
            time.sleep(0.02)
    assert time.monotonic() - began_s < 3
    assert "0.3 s" in drip.rest()[0]["message"]


def test_ten_megabytes_without_a_line_break(running, connect) -> None:
    tracemalloc.start()
    try:
        before_bytes, _ = tracemalloc.get_traced_memory()
        long = connect(running)
        piece = b"x" * 65536
        with suppress(OSError):
            for _ in range(160):
                long.socket.sendall(piece)
        told = long.rest()
        grown_bytes = tracemalloc.get_traced_memory()[1] - before_bytes
    finally:
        tracemalloc.stop()
    assert str(MAX_LINE_BYTES) in told[0]["message"] and len(told) == 1
    assert grown_bytes < 1 << 20
    assert connect(running).ask("status")["type"] == "reply"


def test_a_hundred_connections(running, connect) -> None:
    held = [connect(running) for _ in range(MAX_CONNECTIONS)]
    for caller in held:
        caller.ask("status")
    for _ in range(100 - MAX_CONNECTIONS):
        (told,) = connect(running).rest()
        assert str(MAX_CONNECTIONS) in told["message"] and told["cure"]
    held[0].close()
    deadline = time.monotonic() + 10
    while len(running.door._tasks) == MAX_CONNECTIONS:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert connect(running).ask("status")["type"] == "reply"
    assert held[1].ask("status")["type"] == "reply"


def test_connections_that_hold_all_they_can_fit_in_what_requests_are_given(
    start, connect, engine
) -> None:
    running = start(body_pause_s=20.0, send_s=20.0)
    engine.finals = ()
    speaking = connect(running)
    speaking.ask("listen")
    tracemalloc.start()
    try:
        before_bytes, _ = tracemalloc.get_traced_memory()
        deaf = [connect(running, b"x" * MAX_LINE_BYTES) for _ in range(MAX_CONNECTIONS - 1)]
        for n in range(150):  # what a deaf one's socket takes, and most of its outbox
            engine.soon.append(Final(n, n, n + 1, "w" * 3000))
        while speaking.until("final")["id"] < 149:
            pass
        heard_bytes = sum(len(json.dumps(line)) for line in speaking.seen)
        held_bytes = tracemalloc.get_traced_memory()[0] - before_bytes - heard_bytes
        for caller in deaf:
            caller.close()
    finally:
        tracemalloc.stop()
    # They are there, and leave room for HTTP's and Wyoming's.
    assert 300_000 < held_bytes < REQUESTS_BYTES // 6


def test_who_never_reads_is_left_and_nobody_else_loses_a_final(start, connect, engine) -> None:
    running = start(send_s=0.3)
    deaf, hearing = connect(running), connect(running)
    deaf.ask("status")
    hearing.ask("listen")
    for n in range(400):
        engine.soon.append(Final(n, n, n + 1, "word " * 200))
    finals = []
    while len(finals) < 400:
        finals.append(hearing.until("final"))
    assert [line["id"] for line in finals] == list(range(400))
    # Its end comes, with what it was sent before.
    deadline = time.monotonic() + 10
    while len(running.door._tasks) > 1:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert len(deaf.rest()) < 400


def test_who_reads_late_loses_what_passes_and_no_final(start, connect, engine) -> None:
    running = start(send_s=20.0)
    late, quick = connect(running), connect(running)
    late.ask("status")
    quick.ask("listen")
    n_partials = 1000
    for n in range(n_partials):
        engine.soon.append(Partial(0, 0.0, n, "word " * 100))
        if n % 10 == 0:
            engine.soon.append(MemoryReport(n, 1, 1, {"x": n}))
            engine.soon.append(Final(n // 10, n, n, "final"))
    while quick.until("final")["id"] < n_partials // 10 - 1:
        pass
    quick.ask("stop")
    late.until("session-ended")
    count = {kind: late.kinds.count(kind) for kind in set(late.kinds)}
    dropped = [line for line in late.seen if line["type"] == "dropped"]
    lost = {
        kind: sum(line.get(kind, 0) for line in dropped) for kind in ("partial", "memory-report")
    }
    assert count["final"] == n_partials // 10 + 2
    assert lost["partial"] > 100
    # The session's own first partial is one more.
    assert count["partial"] + lost["partial"] == n_partials + 1
    assert count["memory-report"] + lost["memory-report"] == n_partials // 10
    times = [line["end_s"] for line in late.seen if line["type"] == "partial"]
    assert times[1:] == sorted(times[1:]) and times[-1] == n_partials - 1


@pytest.mark.parametrize(
    "sent", [b"", b'{"comm', b'{"command": "listen"}\n', b'{"command": "toggle"}\n{"command":']
)
def test_who_goes_midway_leaves_nothing(running, connect, engine, sent) -> None:
    for _ in range(5):
        connect(running, sent).close()
    last = connect(running)
    deadline = time.monotonic() + 10
    while (state := last.ask("status")["state"]) != "idle" or len(running.door._tasks) > 1:
        assert time.monotonic() < deadline
        if state == "listening":
            last.ask("stop")
        time.sleep(0.02)
    assert running.worker.taken == 0


def test_a_flood_of_commands_is_answered_in_turn_or_left(running, connect) -> None:
    flood = connect(running)
    ask = b'{"command": "status"}\n' * 500
    flood.socket.sendall(ask)
    shut(flood)
    assert len(flood.rest()) == 500
    deaf = connect(running)
    deaf.socket.settimeout(0.3)
    with suppress(OSError):  # until nothing more goes in, or it is closed
        for _ in range(100):
            deaf.socket.sendall(ask)
    assert connect(running).ask("status")["type"] == "reply"


def test_the_socket_is_its_owners_alone(running) -> None:
    assert running.path.stat().st_mode & 0o777 == 0o600
    assert running.path.stat().st_uid == os.geteuid()


def test_an_outbox_drops_the_oldest_of_what_passes_and_counts_it() -> None:
    async def run() -> list[bytes | None]:
        box = Outbox()
        assert box.put(b"first\n")
        for n in range(MAX_PASSING + 3):
            assert box.put(b"%d\n" % n, passing="partial" if n else "memory-report")
        assert box.put(b"last\n")
        box.close()
        assert box.put(b"too late\n")
        found = []
        while not found or found[-1] is not None:
            found.append(await box.next())
        return found

    found = asyncio.run(run())
    assert found[0] == encoded({"type": "dropped", "memory-report": 1, "partial": 2})
    assert found[1:] == [
        b"first\n",
        *(b"%d\n" % n for n in range(3, MAX_PASSING + 3)),
        b"last\n",
        None,
    ]


def test_an_outbox_that_is_full_says_so() -> None:
    async def run() -> None:
        box = Outbox()
        assert box.put(b"x" * MAX_HELD_BYTES)
        assert not box.put(b"y")
        assert await box.next() == b"x" * MAX_HELD_BYTES
        assert box.put(b"y")

    asyncio.run(run())


def test_evictions_are_no_passing_matter(caller, engine) -> None:
    """Who adds them up misses none."""
    engine.finals = ()
    engine.soon.extend(Evicted(n, 1, 1, 1) for n in range(MAX_PASSING * 4))
    caller.ask("listen")
    assert engine.begun.wait(10)
    caller.ask("stop")
    assert caller.kinds.count("evicted") == MAX_PASSING * 4
