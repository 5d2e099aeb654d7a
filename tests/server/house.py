"""A server with a door for Wyoming's satellites and no model behind it, in a thread."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

from edge_audiokv.server.app import Service
from edge_audiokv.server.guard import Guard
from edge_audiokv.server.limits import Limits
from edge_audiokv.server.listening import open_tcp
from edge_audiokv.server.run import make_server
from edge_audiokv.server.worker import Worker
from edge_audiokv.server.wyoming.door import WyomingDoor

from .scripted import ScriptedEngine


class Running:
    """A server with a Wyoming door, in a thread."""

    def __init__(self, engine: ScriptedEngine, folder: Path, limits: Limits) -> None:
        sockets = [open_tcp("127.0.0.1", 0), open_tcp("127.0.0.1", 0)]
        self.ports = [each.getsockname()[1] for each in sockets]
        self.worker = Worker(engine, queue=limits.queue)
        guard = Guard.loopback(self.ports[0])
        service = Service(engine, self.worker, folder, limits, guard)
        door = WyomingDoor(service, sockets[1:])
        self.server = make_server(service, doors=[door])
        self.thread = threading.Thread(target=lambda: self.server.run(sockets[:1]))

    @property
    def port(self) -> int:
        return int(self.ports[1])

    def start(self) -> None:
        self.worker.start()
        self.thread.start()
        deadline = time.monotonic() + 10
        while not self.server.started:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.05)

    def end(self) -> None:
        self.server.should_exit = True
        self.thread.join(20)
        assert not self.thread.is_alive()
        self.worker.close()

    def connect(self, data: bytes = b"") -> socket.socket:
        opened = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        opened.sendall(data)
        return opened
