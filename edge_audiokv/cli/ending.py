"""Signals that ask for an end, as exceptions in the main thread: every `with` closes what it holds.

An exception that meets an import is another matter: modules turn it into an ImportError of their
own, or swallow it. So a signal that comes during an import waits until that is over.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_RETRY_S = 0.02
# What the import system's own frames are called, in every file of theirs.
_IMPORTING = "<frozen importlib._bootstrap"


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
        if alarm is not None and _is_importing(frame):
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


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith(_IMPORTING):
            return True
        frame = frame.f_back
    return False
