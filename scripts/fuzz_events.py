"""Send damaged commands to a server's event stream: each client gets answers or an end, no more.

    python scripts/fuzz_events.py --cases 20000 --seed 0 --jobs 2

Each case is a client whose commands (listen, stop, toggle, ask, status) have wrong fields, bytes
and line breaks, come in pieces of any size, and may break off. A command that fails with what is no
refusal is a fault, and so are one that is left open, a question about the status of the next client
that goes unanswered, and more than 5 MB of growth. The model and the microphone are scripted.
`--seed S --cases 1` runs that case alone.
"""

from __future__ import annotations

import json
import logging
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Behind the installed package, which is the one that has the native library.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from edge_audiokv.server.events.client import Client
from edge_audiokv.server.limits import Limits
from scripts.fuzz_wyoming import WITHIN_S, Faults, Watch, send
from scripts.fuzzing import options, run
from tests.server.house import Listening
from tests.server.scripted import ScriptedEngine

VALUES = (0, -1, 1.5, 2**53, 10**30, "7", "/etc/passwd", "", "x" * 9000, None, True, [], {"a": {}})
FIELDS = ("id", "command", "device", "question", "path")


def main() -> None:
    run(options(__doc__ or "", timeout_s=60), attack)


def command(draw: random.Random) -> bytes:
    """A line, often with something wrong."""
    data: dict[str, Any] = {"id": draw.choice((1, "a", None))}
    data["command"] = draw.choice(("listen", "stop", "toggle", "ask", "status"))
    if data["command"] == "ask":
        data["question"] = draw.choice(("what?", " "))
    if draw.random() < 0.3:
        data[draw.choice(FIELDS)] = draw.choice(VALUES)
    line = bytearray(json.dumps(data).encode())
    match draw.randrange(8):
        case 0:
            for _ in range(draw.randrange(1, 4)):
                line[draw.randrange(len(line))] = draw.randrange(256)
        case 1:
            del line[draw.randrange(len(line)) :]
        case 2:
            line *= draw.choice((2, 300))
        case 3:
            line[:0] = b'{"id": ' + b"[" * draw.choice((50, 5_000))
    return bytes(line) + draw.choice((b"\n", b"\n", b"\r\n", b"\n\n", b""))


def is_awake(running: Listening) -> bool:
    with Client(running.path, answer_s=WITHIN_S) as client:
        return client.ask("status")["type"] == "reply"


def attack(seeds: range) -> Iterator[int]:
    faults = Faults()
    for name in ("edge_audiokv.server", "asyncio"):
        logging.getLogger(name).addHandler(faults)
    with tempfile.TemporaryDirectory() as folder:
        engine = ScriptedEngine()
        running = Listening(engine, Path(folder), Limits(send_s=2.0, body_pause_s=2.0))
        running.start()
        try:
            watch = Watch(faults)
            for seed in seeds:
                yield seed
                draw = random.Random(seed)
                sent = b"".join(command(draw) for _ in range(draw.randrange(1, 8)))
                with running.connect() as client:
                    client.settimeout(WITHIN_S)
                    send(client, sent, draw)
                del engine.heard[:-1]
                watch.look(lambda: is_awake(running))
            watch.told()
        finally:
            running.end()


if __name__ == "__main__":
    main()
