"""The other end of the event stream, for programs that wait for what they ask."""

from __future__ import annotations

import contextlib
import errno
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from edge_audiokv.errors import (
    DeviceError,
    EdgeAudioKVError,
    InputError,
    MissingExtraError,
)
from edge_audiokv.server.events.place import require_unix

# The text of half an hour, and room for what an event may grow by.
_MAX_LINE_BYTES = 4 << 20
_CONNECT_S, _LOOK_EVERY_S = 5.0, 0.1
_NOT_THERE = (errno.ENOENT, errno.ECONNREFUSED, errno.ENOTDIR)
_KINDS = {kind.exit_code: kind for kind in (InputError, DeviceError, MissingExtraError)}
Line = dict[str, Any]


class Client:
    """A connection to the server at `path`; all of it raises EdgeAudioKVError.

    `answer_s` is how long a command that the server does at once may take, `wait_s` how long to
    look for a server that is just starting.
    """

    def __init__(self, path: Path, *, answer_s: float = 30.0, wait_s: float = 0.0) -> None:
        self.path = path
        self._answer_s, self._wait_s = answer_s, wait_s
        self._socket: socket.socket | None = None
        self._buffer = bytearray()
        self._searched = 0
        self._last_id = 0

    def __enter__(self) -> Self:
        require_unix()
        latest_s = time.monotonic() + self._wait_s
        while self._socket is None:
            opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            opened.settimeout(_CONNECT_S)
            try:
                opened.connect(str(self.path))
                self._socket = opened
            except OSError as error:
                opened.close()
                if error.errno not in _NOT_THERE or time.monotonic() > latest_s:
                    raise self._unreached(error) from None
                time.sleep(_LOOK_EVERY_S)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def send(self, command: str, **fields: Any) -> int:
        """Send a command; the id of its answer."""
        self._last_id += 1
        line = json.dumps({"id": self._last_id, "command": command, **fields})
        with contextlib.suppress(OSError):  # it may have said why before it left
            self._opened().sendall(line.encode() + b"\n")
        return self._last_id

    def lines(self, within_s: float | None = None) -> Iterator[tuple[str, Line]]:
        """Every line, as text and as an object, until the server ends the connection; each within
        `within_s`.
        """
        while (text := self._line(within_s)) is not None:
            try:
                data = json.loads(text)
                kind = data["type"]
            except (ValueError, TypeError, KeyError, RecursionError):
                raise EdgeAudioKVError(
                    f"What answers at {self.path} is no event stream.",
                    cure="Name the socket of `edge-audiokv serve --events`: --socket PATH",
                ) from None
            if kind == "error" and data.get("id") is None:
                raise refusal(data)
            yield text, data

    def ask(self, command: str, *, patient: bool = False, **fields: Any) -> Line:
        """Send a command and wait for its answer. `patient` if it may take any time."""
        return self.answer_to(self.send(command, **fields), patient=patient)

    def answer_to(self, id: int, *, patient: bool = False) -> Line:
        """Events meanwhile are passed over."""
        for _, data in self.lines(None if patient else self._answer_s):
            if is_answer(data, id):
                return checked(data)
        raise self.gone()

    def gone(self) -> EdgeAudioKVError:
        """The server has ended the connection too early."""
        return EdgeAudioKVError(
            f"The server at {self.path} has gone.", cure="Start it: edge-audiokv serve --events"
        )

    def _line(self, within_s: float | None) -> str | None:
        while (end := self._buffer.find(b"\n", self._searched)) < 0:
            self._searched = len(self._buffer)
            if self._searched > _MAX_LINE_BYTES:
                raise EdgeAudioKVError(f"A line from {self.path} has no end.")
            try:
                self._opened().settimeout(within_s)
                piece = self._opened().recv(1 << 16)
            except TimeoutError:
                raise EdgeAudioKVError(
                    f"The server at {self.path} does not answer.",
                    cure="It may still be loading its model; else restart it.",
                ) from None
            except OSError:
                piece = b""
            if not piece:
                return None
            self._buffer += piece
        text = self._buffer[:end].decode("utf-8", "replace")
        del self._buffer[: end + 1]
        self._searched = 0
        return text

    def _opened(self) -> socket.socket:
        if self._socket is None:
            raise RuntimeError("use it as a context manager")
        return self._socket

    def _unreached(self, error: OSError) -> EdgeAudioKVError:
        if error.errno in _NOT_THERE:
            return EdgeAudioKVError(
                f"No server is listening at {self.path}.",
                cure="Start one: edge-audiokv serve --events (if it is just starting: --wait 30)",
            )
        return EdgeAudioKVError(
            f"{self.path} cannot be used: {error.strerror or error}.",
            cure="Name the socket of `edge-audiokv serve --events`: --socket PATH",
        )


def is_answer(data: Line, id: int) -> bool:
    return data["type"] in ("reply", "error") and data.get("id") == id


def checked(answer: Line) -> Line:
    """`answer`, unless it is a refusal, which is raised."""
    if answer["type"] == "error":
        raise refusal(answer)
    return answer


def refusal(data: Line) -> EdgeAudioKVError:
    """The server's error as one of ours, with its exit code."""
    kind = _KINDS.get(data.get("exit_code", 0), EdgeAudioKVError)
    return kind(str(data.get("message", "refused.")), cure=str(data.get("cure", "")))
