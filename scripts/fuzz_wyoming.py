"""Send damaged Wyoming frames to a server's door: each client gets an answer or an end, no more.

    python scripts/fuzz_wyoming.py --cases 20000 --seed 0 --jobs 2

Each case is a client whose events (describe, ping, transcribe, sound) have wrong lengths, types,
bytes and order, come in pieces of any size, and may break off. A connection that fails with what is
no refusal is a fault, and so are one that is left open, a ping of the next client that goes
unanswered, and more than 5 MB of growth. The model behind the door is scripted.
`--seed S --cases 1` runs that case alone.
"""

from __future__ import annotations

import json
import logging
import random
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Behind the installed package, which is the one that has the native library.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from edge_audiokv.kv.memory import rss_bytes
from edge_audiokv.server.limits import Limits
from scripts.fuzzing import options, run
from tests.server.house import House
from tests.server.scripted import ScriptedEngine

FORM = {"rate": 16000, "width": 2, "channels": 1}
NUMBERS = (0, -1, 1, 2, 3, 1.5, 2**16, 2**20, 2**20 + 1, 2**31, 2**53, 10**30, "7", None, True)
MAX_GROWTH_BYTES = 5_000_000
# Clients until all is imported, and every buffer and cache has been as full as it gets.
SETTLED = 1000
WITHIN_S = 20.0


class Faults(logging.Handler):
    """What the server logs as its own failure."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.told.append(record.getMessage())


class Watch:
    """Raises AssertionError once a server tells of a fault, sleeps or grows; `look` follows every
    client.
    """

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._n = self._settled_bytes = self.grown_bytes = 0

    def look(self, is_awake: Callable[[], bool]) -> None:
        n, self._n = self._n, self._n + 1
        if self._faults.told:
            raise AssertionError(self._faults.told[0])
        if n % 20 == 0 and not is_awake():
            raise AssertionError("the next client was not answered")
        if n == SETTLED:
            self._settled_bytes = rss_bytes()
        elif n % 200 == 0 and n > SETTLED:
            self.grown_bytes = rss_bytes() - self._settled_bytes
            if self.grown_bytes > MAX_GROWTH_BYTES:
                raise AssertionError(f"{self.grown_bytes} bytes more than after {SETTLED} clients")

    def told(self) -> None:
        """How much of the bound was used."""
        if self._n > SETTLED:
            print(f"{self.grown_bytes / 1e6:.1f} MB more than after {SETTLED} clients")


def main() -> None:
    run(options(__doc__ or "", timeout_s=60), attack)


def frame(kind: Any, data: Any = None, payload: bytes = b"", **head: Any) -> bytes:
    """One event as the protocol writes it, but for what `head` changes."""
    body = json.dumps(data).encode() if data is not None else b""
    line = {"type": kind, "data_length": len(body), "payload_length": len(payload), **head}
    return json.dumps(line).encode() + b"\n" + body + payload


def utterance(draw: random.Random) -> list[bytes]:
    """What a satellite sends, with now and then a wrong number."""

    def form() -> dict[str, Any]:
        made: dict[str, Any] = dict(FORM)
        if draw.random() < 0.3:
            made[draw.choice(list(made))] = draw.choice(NUMBERS)
        return made

    pieces = [bytes(draw.choice((0, 1, 2, 640, 3200))) for _ in range(draw.randrange(5))]
    return [
        frame("describe"),
        frame("ping", {"text": draw.choice(["x", 3, None, "y" * 70_000])}),
        frame("transcribe", {"language": draw.choice(["en", "de", 7, None, ""])}),
        frame("audio-start", form()),
        *(frame("audio-chunk", form(), piece) for piece in pieces),
        frame("audio-stop"),
        frame(draw.choice(["", "what-is-this", None, 5])),
    ]


def damaged(draw: random.Random) -> bytes:
    frames = utterance(draw)
    for _ in range(draw.randrange(4)):
        at = draw.randrange(len(frames))
        match draw.randrange(6):
            case 0:
                frames[at] = b""
            case 1:
                frames.insert(at, draw.choice(frames))
            case 2:
                draw.shuffle(frames)
            case 3:
                name = draw.choice(("data_length", "payload_length"))
                frames[at] = frame("audio-chunk", FORM, bytes(64), **{name: draw.choice(NUMBERS)})
            case 4:
                changed = bytearray(frames[at] or b"\n")
                for _ in range(draw.randrange(1, 4)):
                    changed[draw.randrange(len(changed))] = draw.randrange(256)
                frames[at] = bytes(changed)
            case 5:
                deep = draw.choice((50, 5_000, 40_000))
                frames[at] = b'{"type": "ping", "data": ' + b"[" * deep + b"\n"
    sent = b"".join(frames)
    return sent[: draw.randrange(len(sent) + 1)] if draw.random() < 0.3 else sent


def ask(port: int, sent: bytes, draw: random.Random) -> None:
    """One client."""
    with socket.create_connection(("127.0.0.1", port), timeout=WITHIN_S) as client:
        send(client, sent, draw)


def send(client: socket.socket, sent: bytes, draw: random.Random) -> None:
    """Send it in pieces, and read until the other side is done with it, or be gone before."""
    try:
        at = 0
        while at < len(sent):
            size = draw.choice((1, 7, 100, 4096, len(sent)))
            client.sendall(sent[at : at + size])
            at += size
        if draw.random() < 0.2:
            return
        client.shutdown(socket.SHUT_WR)
        while client.recv(65536):
            pass
    except TimeoutError:
        raise
    except OSError:
        return  # refused while it was still sending


def is_awake(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=WITHIN_S) as client:
        client.sendall(frame("ping", {"text": "awake"}))
        client.shutdown(socket.SHUT_WR)
        told = b""
        while piece := client.recv(65536):
            told += piece
    return b"pong" in told and b"awake" in told


def attack(seeds: range) -> Iterator[int]:
    faults = Faults()
    logging.getLogger("edge_audiokv.server").addHandler(faults)
    limits = Limits(send_s=2.0, body_pause_s=2.0)
    with tempfile.TemporaryDirectory() as folder:
        engine = ScriptedEngine()
        running = House(engine, Path(folder), limits)
        running.start()
        try:
            watch = Watch(faults)
            for seed in seeds:
                yield seed
                draw = random.Random(seed)
                ask(running.port, damaged(draw), draw)
                engine.heard.clear()
                engine.files.clear()
                watch.look(lambda: is_awake(running.port))
            watch.told()
        finally:
            running.end()


if __name__ == "__main__":
    main()
