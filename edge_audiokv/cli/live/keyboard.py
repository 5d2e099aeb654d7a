"""The keyboard of the terminal, key by key, and the terminal as it was when that is over.

A thread reads, for the main one is busy decoding: what is typed is seen at once. The terminal gets
its own modes back however the block ends, and while the process is stopped (Ctrl-Z).
"""

from __future__ import annotations

import atexit
import os
import select
import signal
import sys
import threading
from contextlib import suppress
from importlib import import_module
from types import FrameType, TracebackType
from typing import Any, Protocol, Self

from edge_audiokv.cli.live.keys import Key, KeyDecoder

termios: Any
try:
    termios = import_module("termios")
except ImportError:  # Windows: nothing is typed while it listens
    termios = None

_TICK_S = 0.125
_READ_BYTES = 1024


class Hands(Protocol):
    """Whom the keyboard serves; all but the last two are called by its thread."""

    def pressed(self, keys: list[Key | str]) -> None: ...

    def tick(self) -> None:
        """Called about eight times a second."""

    def let_go(self) -> None:
        """The terminal is about to be somebody else's: leave nothing on it. Main thread."""

    def take_again(self) -> None:
        """It is ours again."""


def find_terminal(*, by_key: bool, sound_on_stdin: bool) -> int | None:
    """What a person types at, as a file descriptor: standard input, or where that is the sound and
    the screen is a terminal's, the terminal itself; None if nothing can be typed.
    """
    if termios is None or sys.stdin is None:
        return None
    if sys.stdin.isatty():
        return None if sound_on_stdin else sys.stdin.fileno()
    if not by_key or not sound_on_stdin:
        return None
    try:
        return os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return None


class Keyboard:
    """`with Keyboard(hands, find_terminal(...), by_key=True): ...`; main thread.

    `by_key` turns echo and line editing of the terminal off. Without it whole lines come, as the
    terminal's own editing made them. Where there is no keyboard only `tick` is called.
    """

    def __init__(self, hands: Hands, fd: int | None, *, by_key: bool) -> None:
        self._hands = hands
        self._by_key = by_key
        self._fd = fd
        self._before: list[Any] | None = None
        # Ours to read from and draw on; not while the shell has us in the background.
        self._holding = True
        self._continued = False
        self._stopping = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="keyboard", daemon=True)
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if self._fd is not None:
            self._before = termios.tcgetattr(self._fd)
        atexit.register(self._restore)
        if hasattr(signal, "SIGTSTP") and threading.current_thread() is threading.main_thread():
            for number, handler in (
                (signal.SIGTSTP, self._on_stop),
                (signal.SIGCONT, self._on_continue),
            ):
                if signal.getsignal(number) is signal.SIG_DFL:
                    self._handlers[number] = signal.signal(number, handler)
        if self._in_front():
            self._set_modes()
        else:
            self._holding = False
            self._hands.let_go()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        try:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            self._thread.join(timeout=2.0)
        finally:
            self._restore()
            atexit.unregister(self._restore)

    def _in_front(self) -> bool:
        """Whether the terminal is ours now; one that controls nobody always is."""
        if self._fd is None:
            return True
        try:
            return os.tcgetpgrp(self._fd) == os.getpgrp()
        except OSError:
            return True

    def _set_modes(self) -> None:
        if self._fd is None or self._before is None or not self._by_key:
            return
        modes = list(self._before)
        modes[3] &= ~(termios.ICANON | termios.ECHO | termios.IEXTEN)
        controls = list(modes[6])
        controls[termios.VMIN], controls[termios.VTIME] = 1, 0
        # Ctrl-\ would end the process with the terminal as it is.
        controls[termios.VQUIT] = bytes([os.fpathconf(self._fd, "PC_VDISABLE") & 0xFF])
        modes[6] = controls
        self._put(self._fd, modes)

    def _put(self, fd: int, modes: list[Any]) -> None:
        with suppress(termios.error):  # it may have gone
            termios.tcsetattr(fd, termios.TCSANOW, modes)

    def _restore(self) -> None:
        """The terminal as it was; what is typed and unread is nobody's command."""
        fd, before = self._fd, self._before
        self._before = None
        if fd is None or before is None:
            return
        if self._in_front():
            self._put(fd, before)
            with suppress(termios.error):
                termios.tcflush(fd, termios.TCIFLUSH)
        self._fd = None
        if fd > 2:  # /dev/tty
            os.close(fd)

    # --- the thread -------------------------------------------------------------------------------

    def _work(self) -> None:
        decoder = KeyDecoder()
        while not self._ended.is_set():
            try:
                self._step(decoder)
            except (OSError, ValueError):
                return  # the terminal has gone; whoever listens goes on

    def _step(self, decoder: KeyDecoder) -> None:
        if (not self._holding or self._continued) and not self._stopping:
            self._look_again()
        fd = self._fd if self._holding else None
        if fd is None:
            self._ended.wait(_TICK_S)
        elif select.select([fd], [], [], _TICK_S)[0] and self._in_front():
            data = os.read(fd, _READ_BYTES)
            if not data:
                raise OSError("no more keys")
            keys = decoder.feed(data)
            if keys:
                self._hands.pressed(keys)
        elif keys := decoder.idle():
            self._hands.pressed(keys)
        if self._holding and not self._ended.is_set():
            self._hands.tick()

    def _look_again(self) -> None:
        """After a stop, or in the background: has the shell given the terminal to us?"""
        self._continued = False
        if self._in_front():
            self._set_modes()
            self._holding = True
            self._hands.take_again()
        elif self._holding:
            self._holding = False
            self._hands.let_go()

    # --- signals ----------------------------------------------------------------------------------

    def _on_stop(self, number: int, _frame: FrameType | None) -> None:
        """Ctrl-Z: the shell finds its terminal as it left it."""
        self._stopping = True
        holding, self._holding = self._holding, False
        if holding:
            self._hands.let_go()
            if self._fd is not None and self._before is not None and self._in_front():
                self._put(self._fd, self._before)
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
        # Here it goes on after SIGCONT.
        signal.signal(number, self._on_stop)
        self._stopping = False

    def _on_continue(self, _number: int, _frame: FrameType | None) -> None:
        # A stop that could not be caught (SIGSTOP) may have cost us the modes.
        self._continued = True
