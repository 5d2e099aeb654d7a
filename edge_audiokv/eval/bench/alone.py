"""Call a function in a new process: its peak of memory is its own, and it ends with the call."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from edge_audiokv import errors
from edge_audiokv.errors import EdgeAudioKVError, NativeError

Tell = Callable[[str], None]
_MASKS = hasattr(signal, "pthread_sigmask")


def alone(function: Callable[..., Any], *args: Any, tell: Tell = lambda text: None) -> Any:
    """`function(*args, tell)`, importable by name; what it tells is told here.

    Raises the EdgeAudioKVError that it raised, or NativeError if the process died.
    """
    spawn = get_context("spawn")
    ours, theirs = spawn.Pipe(duplex=False)
    process = spawn.Process(target=_answer, args=(theirs, function, args), daemon=True)
    try:
        with _safe_path(), _whole():
            process.start()
        theirs.close()
        while True:
            kind, value = ours.recv()
            if kind == "told":
                tell(value)
                continue
            if kind == "error":
                name, what, cure = value
                raise getattr(errors, name, EdgeAudioKVError)(what, cure=cure)
            return value
    except EOFError:
        process.join()
        raise NativeError(
            f"The process that measured ended with code {process.exitcode}.",
            cure="Was memory short? Measure shorter --contexts.",
        ) from None
    finally:
        if process.pid is not None:
            process.kill()
            process.join()
        ours.close()


@contextmanager
def _safe_path() -> Iterator[None]:
    """What lies where we stand is nobody's module, for processes that begin inside."""
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = before


@contextmanager
def _whole() -> Iterator[None]:
    """A process that begins inside has all it is given before Ctrl-C ends us, and never hears of
    that itself: it would tell where it was, on our terminal.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is None:
        yield
        return
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    # What is blocked here is blocked there.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if _MASKS else set()
    try:
        yield
    finally:
        if _MASKS:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.signal(signal.SIGINT, before)
        if came:
            signal.raise_signal(signal.SIGINT)


def _answer(pipe: Connection, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    # Who started us ends us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        value = function(*args, lambda text: pipe.send(("told", text)))
    except EdgeAudioKVError as error:
        pipe.send(("error", (type(error).__name__, error.what, error.cure)))
    else:
        pipe.send(("found", value))
