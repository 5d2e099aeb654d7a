"""Send damaged WebSocket frames to /v1/realtime: each client gets an answer or an end, no more.

    python scripts/fuzz_realtime.py --cases 20000 --seed 0 --jobs 2

Each case is a client whose upgrade, frames (wrong lengths, masks, opcodes, fragments) and events
(wrong fields, values and order) are damaged, come in pieces of any size, and may break off. What a
protocol logs as its own failure is a fault, and so are a connection that is left open, a place that
is not given back, a next client that is not let in, and more than 5 MB of growth. The model behind
the door is scripted. `--seed S --cases 1` runs that case alone.
"""

from __future__ import annotations

import base64
import json
import logging
import random
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

# Behind the installed package, which is the one that has the native library.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from edge_audiokv.server.limits import Limits
from scripts.fuzz_wyoming import WITHIN_S, Faults, Watch, send
from scripts.fuzzing import options, run
from tests.server.house import Running
from tests.server.scripted import ScriptedEngine

LOUD, QUIET = b"\x00\x40" * 480, bytes(960)
VALUES: tuple[Any, ...] = (
    0, -1, 1.5, 2**53, 10**30, "7", "", "x" * 9000, "\x00", "é", None, True, [], {}, [[]],
    {"type": 3}, {"type": "server_vad", "threshold": 9}, {"type": "audio/pcm", "rate": 1},
)  # fmt: skip
FIELDS = ("type", "event_id", "audio", "session", "response", "item", "response_id", "what")
TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9


def main() -> None:
    run(options(__doc__ or "", timeout_s=60), attack)


# --- events -----------------------------------------------------------------------------------


def update(draw: random.Random) -> dict[str, Any]:
    given: dict[str, Any] = {
        "format": {"type": draw.choice(("audio/pcm", "audio/pcmu", "audio/pcma"))},
        "turn_detection": draw.choice((None, {"type": "server_vad", "silence_duration_ms": 300})),
        "transcription": {"model": "whisper-1", "language": draw.choice(("en", "de", ""))},
        "noise_reduction": None,
    }
    for name in list(given):
        if draw.random() < 0.4:
            del given[name]
    if draw.random() < 0.3:
        given[draw.choice((*given, "what"))] = draw.choice(VALUES)
    return {
        "type": "session.update",
        "session": {"type": "transcription", "audio": {"input": given}},
    }


def event(draw: random.Random) -> bytes:
    """One of a client, often with something wrong."""
    part = {"type": "input_text", "text": draw.choice(("what was said?", "too long"))}
    item = {"type": "message", "role": "user", "content": [part]}
    made: dict[str, Any] = draw.choice(
        (
            {"type": "input_audio_buffer.append"},
            {"type": "input_audio_buffer.append"},
            {"type": "input_audio_buffer.commit"},
            {"type": "input_audio_buffer.clear"},
            {"type": "conversation.item.create", "item": item},
            {"type": "response.create", "response": {"instructions": "what was said?"}},
            {"type": "response.cancel"},
            {"type": "conversation.item.delete", "item_id": "x"},
            update(draw),
        )
    )
    if made["type"].endswith("append"):
        sound = draw.choice((LOUD, QUIET, b"", b"\x01", LOUD * 20))
        made["audio"] = base64.b64encode(sound).decode()
    if draw.random() < 0.2:
        made[draw.choice(FIELDS)] = draw.choice(VALUES)
    text = bytearray(json.dumps(made).encode())
    match draw.randrange(12):
        case 0:
            for _ in range(draw.randrange(1, 4)):
                text[draw.randrange(len(text))] = draw.randrange(256)
        case 1:
            del text[draw.randrange(len(text)) :]
        case 2:
            text[:0] = b'{"a": ' + draw.choice((b"[", b"{,")) * draw.choice((50, 5_000))
    return bytes(text)


# --- frames -----------------------------------------------------------------------------------


def frame(
    opcode: int, payload: bytes, draw: random.Random, *, fin: bool = True, rsv: int = 0
) -> bytes:
    """As the protocol writes it, with now and then another mask bit or length."""
    wrong = draw.random() < 0.03
    n_bytes = draw.choice((0, 1, 125, 126, 2**16, 2**31, 2**63)) if wrong else len(payload)
    masked = 0 if draw.random() < 0.02 else 0x80
    head = bytes([(fin << 7) | (rsv << 4) | opcode])
    long = draw.random() < 0.02  # a form that is longer than it need be
    if n_bytes < 126 and not long:
        head += bytes([masked | n_bytes])
    elif n_bytes < 2**16 and not long:
        head += bytes([masked | 126]) + struct.pack("!H", n_bytes)
    else:
        head += bytes([masked | 127]) + struct.pack("!Q", n_bytes)
    mask = draw.randbytes(4)
    if not masked:
        return head + payload
    # Every fourth byte has the same part of the mask.
    cover = (mask * (len(payload) // 4 + 1))[: len(payload)]
    hidden = int.from_bytes(payload, "big") ^ int.from_bytes(cover, "big")
    return head + mask + hidden.to_bytes(len(payload), "big")


def message(draw: random.Random) -> bytes:
    """An event as one frame or several, or what is no event."""
    match draw.randrange(10):
        case 0:
            opcode = draw.choice((BINARY, CLOSE, PING, 10, 3, 7, 11, 15, 0))
            size = draw.choice((0, 1, 2, 125, 126, 4000))
            return frame(opcode, draw.randbytes(size), draw, rsv=draw.choice((0, 0, 1, 4, 7)))
        case 1:
            code = struct.pack("!H", draw.choice((0, 999, 1000, 1001, 1005, 1015, 4000, 65535)))
            return frame(CLOSE, code + draw.choice((b"", b"bye", b"\xff\xfe", b"x" * 124)), draw)
        case 2:
            text = event(draw)
            cuts = sorted(draw.randrange(len(text) + 1) for _ in range(draw.randrange(1, 5)))
            parts = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
            sent = []
            for number, part in enumerate(parts):
                opcode, fin = (0 if number else TEXT), number == len(parts) - 1
                sent.append(frame(opcode, part, draw, fin=fin))
                if draw.random() < 0.2:
                    sent.append(frame(PING, b"there?", draw))
            if draw.random() < 0.1:
                draw.shuffle(sent)
            return b"".join(sent)
        case 3:
            empty = frame(0, b"", draw, fin=False)
            return frame(TEXT, b"{", draw, fin=False) + empty * draw.choice((10, 3000))
    return frame(TEXT, event(draw), draw)


def upgrade(port: int, draw: random.Random) -> bytes:
    """The request that a WebSocket begins with, now and then damaged."""
    key = base64.b64encode(draw.randbytes(16)).decode()
    lines = [
        "GET /v1/realtime?intent=transcription HTTP/1.1",
        f"host: 127.0.0.1:{port}",
        "upgrade: websocket",
        "connection: upgrade",
        f"sec-websocket-key: {key}",
        "sec-websocket-version: 13",
        "sec-websocket-extensions: permessage-deflate",
    ]
    if draw.random() < 0.1:
        at = draw.randrange(len(lines))
        lines[at] = draw.choice(("", "x", lines[at] + ", 12", "a: " + "b" * 40_000, lines[0]))
    head = bytearray("\r\n".join([*lines, "", ""]).encode())
    if draw.random() < 0.05:
        head[draw.randrange(len(head))] = draw.randrange(256)
    return bytes(head)


def damaged(port: int, draw: random.Random) -> bytes:
    head = upgrade(port, draw)
    frames = bytearray(b"".join(message(draw) for _ in range(draw.randrange(10))))
    if frames and draw.random() < 0.2:
        for _ in range(draw.randrange(1, 4)):
            frames[draw.randrange(len(frames))] = draw.randrange(256)
    sent = head + bytes(frames)
    return sent[: draw.randrange(len(sent) + 1)] if draw.random() < 0.2 else sent


# --- clients ----------------------------------------------------------------------------------


def ask(port: int, sent: bytes, draw: random.Random) -> None:
    """One client."""
    with socket.create_connection(("127.0.0.1", port), timeout=WITHIN_S) as client:
        send(client, sent, draw)


def settle(running: Running) -> None:
    """Until the client's place was given back: the next one wants it."""
    deadline = time.monotonic() + WITHIN_S
    while running.worker.taken:
        if time.monotonic() > deadline:
            raise AssertionError("a client that has left keeps its place")
        time.sleep(0.0005)


def is_awake(running: Running) -> bool:
    """One who left unheard may come in after `settle`, for a moment: then this one comes again."""
    address, deadline = f"ws://127.0.0.1:{running.port}/v1/realtime", time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        try:
            with connect(address, compression=None, proxy=None) as client:
                told = [json.loads(client.recv(timeout=WITHIN_S))]
                client.send('{"type": "input_audio_buffer.clear"}')
                told.append(json.loads(client.recv(timeout=WITHIN_S)))
        except InvalidStatus as refused:
            if refused.response.status_code != 429:
                raise
            time.sleep(0.001)
            continue
        settle(running)
        kinds = [event["type"] for event in told]
        return kinds == ["session.created", "input_audio_buffer.cleared"]
    return False


def attack(seeds: range) -> Iterator[int]:
    faults = Faults()
    for name in ("edge_audiokv.server", "edge_audiokv.websocket", "asyncio", "uvicorn.error"):
        logging.getLogger(name).addHandler(faults)
    limits = Limits(send_s=2.0, body_pause_s=2.0, header_s=2.0, idle_s=2.0)
    with tempfile.TemporaryDirectory() as folder:
        engine = ScriptedEngine()
        running = Running(engine, Path(folder), limits)
        running.start()
        try:
            watch = Watch(faults)
            for seed in seeds:
                yield seed
                draw = random.Random(seed)
                ask(running.port, damaged(running.port, draw), draw)
                settle(running)
                for kept in (engine.heard, engine.files, engine.fed, engine.followed, engine.asked):
                    kept.clear()
                watch.look(lambda: is_awake(running))
            watch.told()
        finally:
            running.end()


if __name__ == "__main__":
    main()
