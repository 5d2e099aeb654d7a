"""A server with the event stream's door, and what clients of it are sent."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from tests.server.house import Listening, starting
from tests.server.scripted import ScriptedEngine

Line = dict[str, Any]


class Caller:
    """A bare client: sends lines, reads lines."""

    def __init__(self, running: Listening, data: bytes = b"") -> None:
        self.socket = running.connect(data)
        self.file = self.socket.makefile("rb")
        self.seen: list[Line] = []

    def send(self, **command: Any) -> None:
        self.socket.sendall(json.dumps(command).encode() + b"\n")

    def next(self) -> Line | None:
        """The next line; None once the server has ended."""
        with suppress(ConnectionResetError):
            if line := self.file.readline():
                assert line.endswith(b"\n")
                self.seen.append(json.loads(line))
                return self.seen[-1]
        return None

    def until(self, kind: str) -> Line:
        while (line := self.next()) is not None:
            if line["type"] == kind:
                return line
        raise AssertionError(f"no {kind} in {self.kinds}")

    def ask(self, command: str, **fields: Any) -> Line:
        """The answer to a command; events meanwhile are in `seen`."""
        self.send(id=f"{command} {len(self.seen)}", command=command, **fields)
        wanted = f"{command} {len(self.seen)}"
        while (line := self.next()) is not None:
            if line.get("id") == wanted:
                return line
        raise AssertionError(f"no answer in {self.kinds}")

    def rest(self) -> list[Line]:
        """All lines until the server ends."""
        found = []
        while (line := self.next()) is not None:
            found.append(line)
        return found

    @property
    def kinds(self) -> list[str]:
        return [line["type"] for line in self.seen]

    def close(self) -> None:
        self.file.close()
        self.socket.close()


@pytest.fixture
def start(engine: ScriptedEngine, tmp_path) -> Iterator[Callable[..., Listening]]:
    tmp_path.chmod(0o700)
    yield from starting(Listening, engine, tmp_path)


@pytest.fixture
def running(start: Callable[..., Listening]) -> Listening:
    return start()


@pytest.fixture
def connect() -> Iterator[Callable[..., Caller]]:
    made: list[Caller] = []

    def make(running: Listening, data: bytes = b"") -> Caller:
        made.append(Caller(running, data))
        return made[-1]

    yield make
    for caller in made:
        caller.close()


@pytest.fixture
def caller(running: Listening, connect: Callable[..., Caller]) -> Caller:
    return connect(running)


def shut(caller: Caller) -> None:
    """Nothing more is sent; answers may still come."""
    caller.socket.shutdown(socket.SHUT_WR)
