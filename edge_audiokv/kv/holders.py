"""Who holds memory in this process: `mem` caps the whole of it, so sessions count each other.

A list of names and numbers, nothing else: what a session holds is fixed once it is loaded.
"""

from __future__ import annotations

import itertools
import threading
from weakref import WeakValueDictionary

# Only one engine loads at a time: each measures what it adds to the process.
LOADING = threading.RLock()

_numbers = itertools.count(1)
_lock = threading.Lock()


class Holding:
    """What one engine holds, from `settle` to `release`; one that is forgotten holds nothing.

    `owner` says what it is, such as "session"; `name` adds a number, as several look alike. What is
    no `engine`, such as room that is kept free, is there once, and nobody can close it.
    """

    def __init__(self, owner: str, *, engine: bool = True) -> None:
        self.owner = owner
        self.engine = engine
        self.name = owner
        self.held_bytes = 0
        self.interpreter_bytes = 0

    def settle(self, held_bytes: int, interpreter_bytes: int) -> None:
        """From now on this holds `held_bytes` beside an interpreter that all share."""
        with _lock:
            if self.engine and self.name not in _held:
                self.name = f"{self.owner} {next(_numbers)}"
            self.held_bytes, self.interpreter_bytes = held_bytes, interpreter_bytes
            _held[self.name] = self

    def release(self) -> None:
        """It is given back. Releasing twice does nothing."""
        with _lock:
            _held.pop(self.name, None)

    def others(self) -> dict[str, int]:
        """Bytes that each other engine of this process holds, by name."""
        with _lock:
            return {name: held.held_bytes for name, held in _held.items() if held is not self}

    def other_engines(self) -> list[str]:
        """Names of the others that could be closed."""
        with _lock:
            return [name for name, held in _held.items() if held is not self and held.engine]

    def shared_bytes(self, rss_bytes: int) -> int:
        """The interpreter's part of `rss_bytes`: what is there beside the others.

        Pools that another has not touched yet are no part of the resident memory: the interpreter
        is at least as large as it was when that was loaded.
        """
        with _lock:
            others = [held for held in _held.values() if held is not self]
        known_bytes = max((held.interpreter_bytes for held in others), default=0)
        return max(known_bytes, rss_bytes - sum(held.held_bytes for held in others))


_held: WeakValueDictionary[str, Holding] = WeakValueDictionary()
