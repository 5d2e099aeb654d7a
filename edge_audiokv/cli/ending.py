"""Signals that ask for an end, as exceptions in the main thread: every `with` closes what it holds.

An exception that meets an import is another matter: modules turn it into an ImportError of their
own, or swallow it. One that meets what C calls, or a finaliser, is printed and forgotten there. One
that meets a view half put up leaves what cannot be taken down. So a signal that comes in such a
place waits until that is over.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_RETRY_S = 0.02
# What the import system's own frames are called, in every file of theirs.
_IMPORTING = "<frozen importlib._bootstrap"
# Files, and how functions in them begin, that C calls in the main thread (llama.cpp's log, and what
# libsndfile reads through), or that leave a view half drawn.
_UNBROKEN = (
    ("native/library.py", "receive"),
    ("soundfile.py", "vio_"),
    ("rich/live.py", "start"),
    ("rich/live.py", "stop"),
)


class Terminated(BaseException):
    """SIGTERM or SIGHUP. `code` is the exit code that follows from the signal."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.code = 128 + number


def ending_signals() -> list[signal.Signals]:
    """Signals that ask for an end: SIGTERM, and SIGHUP unless somebody ignores it (nohup)."""
    hangup: signal.Signals | None = getattr(signal, "SIGHUP", None)  # Windows has none
    if hangup is None or signal.getsignal(hangup) is signal.SIG_IGN:
        return [signal.SIGTERM]
    return [signal.SIGTERM, hangup]


@contextmanager
def signals_raise() -> Iterator[None]:
    """Within, SIGTERM and SIGHUP raise Terminated, SIGINT KeyboardInterrupt; main thread only."""
    pending: list[int] = []

    def on_signal(number: int, frame: FrameType | None) -> None:
        if number != alarm:
            pending[:] = [number]
        if not pending:
            return
        if alarm is not None and _swallows(frame):
            signal.setitimer(signal.ITIMER_REAL, _RETRY_S)
            return
        end()

    def end() -> None:
        asked = pending.pop()
        raise KeyboardInterrupt if asked == signal.SIGINT else Terminated(asked)

    alarm: signal.Signals | None = getattr(signal, "SIGALRM", None)
    numbers: list[signal.Signals] = [*ending_signals(), *([alarm] if alarm is not None else [])]
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as a shell starts what runs behind
        numbers.append(signal.SIGINT)
    before: dict[signal.Signals, Any] = {
        number: signal.signal(number, on_signal) for number in numbers
    }
    try:
        yield
    finally:
        if alarm is not None:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
    if pending:
        end()


@contextmanager
def signals_call(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Within, SIGINT, SIGTERM and SIGHUP call `handler` instead; main thread only."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *ending_signals())}
    for number in before:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, handler_before in before.items():
            signal.signal(number, handler_before)


def _swallows(frame: FrameType | None) -> bool:
    """Whether an exception raised here would not get through to whoever waits for it, or too much
    with it.
    """
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(_IMPORTING) or code.co_name == "__del__":
            return True
        path = code.co_filename.replace("\\", "/")
        if any(path.endswith(end) and code.co_name.startswith(n) for end, n in _UNBROKEN):
            return True
        frame = frame.f_back
    return False
