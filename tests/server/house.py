"""A server of a scripted engine in a thread, on a port of its own, and other doors beside it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from edge_audiokv.audio.live.early import Early
from edge_audiokv.audio.source import AudioSource, Samples
from edge_audiokv.server.engine import Engine
from edge_audiokv.server.events.door import EventsDoor
from edge_audiokv.server.events.place import open_socket
from edge_audiokv.server.guard import Guard
from edge_audiokv.server.limits import Limits
from edge_audiokv.server.listening import open_tcp
from edge_audiokv.server.run import Door, make_server
from edge_audiokv.server.service import Service
from edge_audiokv.server.worker import Worker
from edge_audiokv.server.wyoming.door import WyomingDoor

from .scripted import ScriptedEngine


class Running:
    """HTTP alone; `port` is where its clients connect. `more` are engines beside the first."""

    page, key = False, ""

    def __init__(
        self, engine: Engine, folder: Path, limits: Limits, more: Sequence[Engine] = ()
    ) -> None:
        self.sockets = [open_tcp("127.0.0.1", 0)]
        self.port = self.http_port = self.sockets[0].getsockname()[1]
        self.worker = Worker([engine, *more], queue=limits.queue, n_threads=2)
        guard = Guard.loopback(self.port, self.key or None)
        self.service = Service(self.worker, folder, limits, guard, page=self.page)
        self.server = make_server(self.service, doors=self.doors(self.service))
        self.thread = threading.Thread(target=lambda: self.server.run(self.sockets))

    def doors(self, service: Service) -> list[Door]:
        return []

    def start(self) -> None:
        self.worker.start()
        self.thread.start()
        deadline = time.monotonic() + 10
        while not self.server.started:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def stop(self) -> None:
        self.server.should_exit = True

    def end(self) -> None:
        self.stop()
        self.thread.join(20)
        assert not self.thread.is_alive()
        self.worker.close()

    def connect(self, data: bytes = b"") -> socket.socket:
        """A bare connection that has sent `data`."""
        opened = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        opened.sendall(data)
        return opened


class House(Running):
    """The same with Wyoming's door, to which `port` leads."""

    def doors(self, service: Service) -> list[Door]:
        door = open_tcp("127.0.0.1", 0)
        self.port = door.getsockname()[1]
        return [WyomingDoor(service, [door])]

    def start(self) -> None:
        super().start()
        time.sleep(0.05)


class Voice(AudioSource):
    """A microphone without one: what `inner` reads, then silence at the pace of time."""

    realtime = True
    name = "a voice"

    def __init__(self, inner: AudioSource | None = None) -> None:
        super().__init__()
        self.inner = inner
        self.opened = self.closed = 0

    def open(self) -> None:
        self.opened += 1
        if self.inner is not None:
            self.inner.open()

    def _read(self, max_samples: int) -> Samples | None:
        if self.inner is not None and (samples := self.inner.read(max_samples)) is not None:
            return samples
        time.sleep(0.01)
        return np.zeros(160, np.float32)

    def close(self) -> None:
        self.closed += 1
        if self.inner is not None:
            self.inner.close()


class Listening(Running):
    """The same with the door of the event stream, at `path`; `source` is what it listens to, or an
    error that opening it raises. `devices` are those that were asked for.
    """

    def __init__(self, engine: Engine, folder: Path, limits: Limits) -> None:
        self.path = folder / "events.sock"
        self.devices: list[str | int | None] = []
        self.source: AudioSource | Exception = Voice()
        self.opened = ExitStack()
        super().__init__(engine, folder, limits)

    def doors(self, service: Service) -> list[Door]:
        bound = self.opened.enter_context(open_socket(self.path))
        self.door = EventsDoor(service, [bound], self.open_source)
        return [self.door]

    def open_source(self, device: str | int | None) -> AudioSource:
        self.devices.append(device)
        if isinstance(self.source, Exception):
            raise self.source
        return Early(self.source)

    def end(self) -> None:
        super().end()
        self.opened.close()
        assert not self.path.exists()

    def connect(self, data: bytes = b"") -> socket.socket:
        opened = socket.socket(socket.AF_UNIX)
        opened.settimeout(10)
        opened.connect(str(self.path))
        if data:
            opened.sendall(data)
        return opened


def starting(
    kind: type[Running], engine: ScriptedEngine, folder: Path
) -> Iterator[Callable[..., Any]]:
    """For a fixture: makes and starts servers of `kind`, of which nothing stays in the end."""
    begun: list[Running] = []

    def make(**limits: Any) -> Running:
        begun.append(kind(engine, folder, Limits(**limits)))
        begun[-1].start()
        return begun[-1]

    yield make
    engine.go.set()
    for running in begun:
        running.end()
        # Nothing of a client stays, however the server was stopped.
        assert running.worker.taken == 0
    assert all(file.closed for file in engine.files)
