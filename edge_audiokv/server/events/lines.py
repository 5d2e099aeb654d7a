"""What a client sends: lines, bounded in bytes and in time, and the commands in them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from edge_audiokv.errors import EdgeAudioKVError
from edge_audiokv.server.objects import object_of

MAX_LINE_BYTES = 8 << 10
_MAX_ID_CHARS = 128
_MAX_ID = 1 << 53
_MAX_DEVICE_CHARS = 256
# The fields of each command, beside `command` and `id`.
COMMANDS: dict[str, tuple[str, ...]] = {
    "listen": ("device",),
    "stop": (),
    "toggle": ("device",),
    "ask": ("question",),
    "status": (),
}
Id = str | int | None


class LineReader:
    """Lines from `stream`. A connection may be silent for ever, but a line that has begun ends
    within `line_s`, however it drips.
    """

    def __init__(self, stream: asyncio.StreamReader, *, line_s: float) -> None:
        self._stream = stream
        self._line_s = line_s
        self._buffer = bytearray()

    async def next(self) -> bytes | None:
        """The next line without its end; None if there is none any more.

        Raises EdgeAudioKVError for one that is too long or too slow, and OSError for a broken
        connection.
        """
        try:
            async with asyncio.timeout(self._line_s if self._buffer else None) as deadline:
                while (end := self._buffer.find(b"\n")) < 0:
                    if len(self._buffer) > MAX_LINE_BYTES:
                        raise _too_long()
                    piece = await self._stream.read(MAX_LINE_BYTES)
                    if not piece:
                        return self._rest()
                    if not self._buffer:
                        deadline.reschedule(asyncio.get_running_loop().time() + self._line_s)
                    self._buffer += piece
        except TimeoutError:
            raise EdgeAudioKVError(
                f"A line did not end within {self._line_s:g} s.", cure="End it with a line break."
            ) from None
        if end > MAX_LINE_BYTES:
            raise _too_long()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    def _rest(self) -> bytes | None:
        """A last line may lack its end, as what `printf` sends."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest if rest.strip() else None


@dataclass(frozen=True)
class Command:
    """`device` is for those that listen, `question` for `ask`."""

    name: str
    device: str | int | None = None
    question: str = ""


def read_line(line: bytes) -> dict[str, Any]:
    """The object in a line. Raises EdgeAudioKVError."""
    try:
        return object_of(line)
    except ValueError as error:
        raise EdgeAudioKVError(
            f"A line {error}.", cure='Send commands such as {"id": 1, "command": "status"}'
        ) from None


def id_of(data: dict[str, Any]) -> Id:
    """What the answer is to carry. Raises EdgeAudioKVError."""
    value = data.get("id")
    if value is None or (isinstance(value, str) and len(value) <= _MAX_ID_CHARS):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _MAX_ID:
        return value
    raise EdgeAudioKVError("id is neither a short text nor a whole number.", cure="Send id: 1.")


def command_of(data: dict[str, Any]) -> Command:
    """The command in an object. Raises EdgeAudioKVError that names the choices."""
    name = data.get("command")
    if not isinstance(name, str) or name not in COMMANDS:
        raise EdgeAudioKVError(f"There is no command {name!r}.", cure=f"Use {', '.join(COMMANDS)}.")
    known = {"id", "command", *COMMANDS[name]}
    if unknown := sorted(set(data) - known):
        raise EdgeAudioKVError(
            f"{name} has no field {', '.join(map(repr, unknown))}.",
            cure=f"It has {', '.join(sorted(known))}.",
        )
    device, question = data.get("device"), data.get("question", "")
    if not _is_device(device):
        raise EdgeAudioKVError(
            "device is neither the number nor the name of a microphone.",
            cure="edge-audiokv devices lists them.",
        )
    if not isinstance(question, str):
        raise EdgeAudioKVError("question is no text.", cure="Send a question as a text.")
    return Command(name, device, question)


def _is_device(value: Any) -> bool:
    if isinstance(value, str):
        return 0 < len(value) <= _MAX_DEVICE_CHARS
    if isinstance(value, int):
        return not isinstance(value, bool) and 0 <= value < _MAX_ID
    return value is None


def _too_long() -> EdgeAudioKVError:
    return EdgeAudioKVError(
        f"A line has more than {MAX_LINE_BYTES} bytes.", cure="Send one command a line."
    )
