"""Reading in order: one token after another, each with its rivals and where the reader looked.

A reader may lose its way: it then writes a passage again, looking where it looked before. So four
tokens that were written already are a loop unless the reader has gone on in the sound meanwhile;
people who say a thing twice say it later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

# Speech has hardly more tokens than this.
MAX_TOKENS_PER_S, SLACK_TOKENS = 8.0, 16
_REPEATED = 4
# A round that is said again is looked for so much later, at least.
_LATER_S = 0.2


def word_of(text: str) -> str:
    """What a token that writes `text` says: small letters, a space where a word begins or where
    others have a mark; nothing if it has no letters.
    """
    if not any(map(str.isalpha, text)):
        return ""
    kept = "".join(char if char.isalnum() or char == "'" else " " for char in text.lower())
    start = " " if kept.startswith(" ") else ""
    return start + " ".join(kept.split())


def ends_word(text: str, before: bool) -> bool:
    """Does what follows a token that writes `text` begin a word, whether or not a space stands
    there? `before` is the answer for what stands before it.
    """
    return not (text[-1].isalnum() or text[-1] in "'\u2019") if text else before


@dataclass(frozen=True)
class Step:
    """What may be written next, likeliest first: tokens int32 [K] and the beliefs float32 [K] in
    them, and attention float32 [heads, frames] over the sound.
    """

    tokens: NDArray[np.int32]
    beliefs: NDArray[np.float32]
    looks: NDArray[np.float32]

    @property
    def token(self) -> int:
        return int(self.tokens[0])

    @property
    def place(self) -> float:
        """Mean frame that is looked at."""
        seen = self.looks.mean(axis=0)
        return float(seen @ np.arange(len(seen)) / max(float(seen.sum()), 1e-9))


class Reader(Protocol):
    """Writes one token at a time."""

    def step(self, token: int) -> Step:
        """What may follow `token`, and all tokens before it."""
        ...


def read(
    reader: Reader,
    prompt: Sequence[int],
    end: int,
    *,
    duration_s: float,
    frame_s: float,
    max_tokens: int,
) -> list[Step]:
    """One step for each token written, greedily, and for the end if it was reached.

    At most `max_tokens`, fewer for a short sound; a loop is left out from where it begins.
    """
    for token in prompt[:-1]:
        reader.step(token)
    steps: list[Step] = []
    places: list[float] = []
    most = min(max_tokens, int(duration_s * MAX_TOKENS_PER_S) + SLACK_TOKENS)
    token = prompt[-1]
    while len(steps) < most:
        step = reader.step(token)
        token = step.token
        steps.append(step)
        if token == end:
            break
        places.append(step.place)
        n_sound = loop_start([s.token for s in steps], places, _LATER_S / frame_s)
        if n_sound is not None:
            return steps[:n_sound]
    return steps


def loop_start(tokens: Sequence[int], places: Sequence[float], least_later: float) -> int | None:
    """Where the last tokens begin to repeat earlier ones without going on; None if they do not.

    `places` are where each token was looked for, `least_later` how far the same words must lie
    apart if they are said twice.
    """
    n = len(tokens)
    last = list(tokens[n - _REPEATED :])
    for start in range(n - _REPEATED - 1, -1, -1):
        if list(tokens[start : start + _REPEATED]) != last:
            continue
        later = np.subtract(places[n - _REPEATED :], places[start : start + _REPEATED])
        if np.median(later) < least_later:
            return n - _REPEATED
    return None
