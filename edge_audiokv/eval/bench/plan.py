"""What is measured: lengths of prompts, shares of rows, types of rows, and how often."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge_audiokv.eval.quants.grid import ROW_TYPES
from edge_audiokv.units import parse_share

# The engine's own micro-batch, and the queries whose attention it scores.
BATCH_TOKENS, QUESTION_TOKENS = 128, 16
# A text or a head never ends exactly where the measurement does.
SPARE_ROWS = 64
MOST_CONTEXT_TOKENS = 1 << 20


@dataclass(frozen=True)
class Plan:
    """Prompts of `contexts` tokens, cut to each of `shares`, for each pair of row types in `rows`.

    Of every prompt `n_gen` tokens are decoded; everything is done `repetitions` times. With
    `cpu_time` the process's own time stands for the wall clock, as if nobody else used the machine:
    for one thread only.
    """

    contexts: tuple[int, ...] = (512, 2048, 4096, 8192)
    shares: tuple[float, ...] = (1.0, 0.6, 0.4, 0.2)
    rows: tuple[tuple[str, str], ...] = (("f16", "f16"),)
    n_gen: int = 32
    repetitions: int = 5
    cpu_time: bool = False

    @property
    def now(self) -> Callable[[], float]:
        """The clock, in seconds."""
        return time.process_time if self.cpu_time else time.perf_counter

    @property
    def n_room(self) -> int:
        """Rows beyond the prompt that every head has."""
        return self.n_gen + SPARE_ROWS

    def n_steps(self, *, stock: bool) -> int:
        """How often `run_llm` says that something is done."""
        each = sum(-(-(n - QUESTION_TOKENS) // BATCH_TOKENS) + 1 for n in self.contexts)
        cut = sum(share < 1 for share in self.shares)
        cells = len(self.contexts) * (len(self.shares) + cut)
        processes = len(self.contexts) * (len(self.shares) + stock)
        return len(self.rows) * (self.repetitions * (each + cells) + processes)


def seconds(call: Callable[[], object], now: Callable[[], float]) -> float:
    """How long `call` takes."""
    started = now()
    call()
    return now() - started


QUICK = Plan(contexts=(512, 1024), shares=(1.0, 0.4), n_gen=16, repetitions=3)


def read_contexts(text: str) -> tuple[int, ...]:
    """Tokens, from a list with commas. Raises ValueError."""
    found = []
    for item in _items(text):
        if not (item.isascii() and item.isdigit()):
            raise ValueError(f"{item!r} is no number of tokens")
        found.append(int(item))
        if not 4 * QUESTION_TOKENS <= found[-1] <= MOST_CONTEXT_TOKENS:
            raise ValueError(
                f"{item} is not from {4 * QUESTION_TOKENS} to {MOST_CONTEXT_TOKENS} tokens"
            )
    return tuple(dict.fromkeys(found))


def read_shares(text: str) -> tuple[float, ...]:
    """Shares such as 40% or 0.4, the largest first. Raises ValueError."""
    return tuple(sorted({parse_share(item) for item in _items(text)}, reverse=True))


def read_rows(text: str) -> tuple[tuple[str, str], ...]:
    """Types of key and value rows, such as q8_0 or q8_0/q4_0. Raises ValueError."""
    found = []
    for item in _items(text):
        type_k, _, type_v = item.lower().partition("/")
        found.append((type_k, type_v or type_k))
        if not {*found[-1]} <= {*ROW_TYPES}:
            raise ValueError(f"{item!r} is none of {', '.join(ROW_TYPES)}, nor two of them")
    return tuple(dict.fromkeys(found))


def _items(text: str) -> Sequence[str]:
    items = [item.strip() for item in text.split(",") if item.strip()]
    if not items:
        raise ValueError("it names none")
    return items
