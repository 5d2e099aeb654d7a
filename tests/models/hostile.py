"""A server on the loopback that answers with whatever bytes it is given, for ever if asked to."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

# What ends a flood that the client has not ended: far more than it may take.
MAX_FLOOD_S = 20.0


@dataclass
class Manners:
    """`answers` are sent one a connection, the last one again and again; what follows `flood` is
    repeated until the client leaves, `pause_s` apart.
    """

    answers: list[bytes] = field(default_factory=lambda: [b""])
    flood: bytes = b""
    pause_s: float = 0.0
    requests: int = 0
    sent_bytes: int = 0


@contextmanager
def serve(manners: Manners) -> Iterator[str]:
    """The address of a file there."""
    listener = socket.create_server(("127.0.0.1", 0))
    done = threading.Event()

    def answer(client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            client.settimeout(5)
            heard = b""
            while b"\r\n\r\n" not in heard and (piece := client.recv(4096)):
                heard += piece
            chosen = manners.answers[min(manners.requests, len(manners.answers) - 1)]
            manners.requests += 1
            client.sendall(chosen)
            end = time.monotonic() + MAX_FLOOD_S
            while manners.flood and time.monotonic() < end and not done.is_set():
                client.sendall(manners.flood)
                manners.sent_bytes += len(manners.flood)
                if manners.pause_s:
                    done.wait(manners.pause_s)

    def accept() -> None:
        while not done.is_set():
            with contextlib.suppress(OSError):
                client, _ = listener.accept()
                threading.Thread(target=answer, args=(client,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/weights.bin"
    finally:
        done.set()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)
