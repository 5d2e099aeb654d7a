"""Words that are expected, such as names, so that a reader spells them as they are spelt.

A reader is told of them as of a text that stood before (Radford et al. 2023, "previous text
conditioning"), and where their tokens are among those that may come next they are raised (shallow
fusion with a prefix tree; Zhao et al. 2019). Both only choose between what was heard:
beliefs are multiplied, and none is made up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..errors import InputError
from .reading import Reader, Step

# Tokens that all of them may take: each costs a step of the reader, in every stretch of speech.
MOST_TOKENS = 180
# How often likelier a token is when it begins a hotword, and when it goes on with one.
_BEGINS, _GOES_ON = 8.0, 24.0


class Hotwords:
    """The tokens of `words` in the vocabulary `texts`: what each token of a reader writes.

    Raises InputError for a word that has no such tokens, and if all have more than `MOST_TOKENS`.
    """

    def __init__(self, words: Sequence[str], texts: Sequence[str]) -> None:
        self._tokens = {text: token for token, text in reversed(list(enumerate(texts))) if text}
        self._longest = max(map(len, self._tokens), default=0)
        self._next: dict[tuple[int, ...], set[int]] = defaultdict(set)
        for word in words:
            spelt = self._spell(f" {word}")
            for n in range(len(spelt)):
                self._next[tuple(spelt[:n])].add(spelt[n])
        self._depth = max(map(len, self._next), default=0)
        self.ids = self._spell(f" {', '.join(words)}.") if words else []
        if len(self.ids) > MOST_TOKENS:
            raise InputError(
                f"{len(words)} hotwords take {len(self.ids)} tokens; {MOST_TOKENS} are the most.",
                cure="Name those that are missed most.",
            )

    def raised(self, before: Sequence[int], step: Step) -> Step:
        """`step`, which follows the tokens `before`, with what hotwords would write raised."""
        factors = np.ones(len(step.tokens), np.float32)
        for n in range(min(self._depth, len(before)) + 1):
            expected = self._next.get(tuple(before[len(before) - n :]))
            if expected:
                hits = np.isin(step.tokens, list(expected))
                factors[hits] = np.maximum(factors[hits], _GOES_ON if n else _BEGINS)
        if not (factors > 1).any():
            return step
        beliefs = step.beliefs * factors
        # What others were believed makes way.
        beliefs /= max(1.0, float(beliefs.sum()))
        order = np.argsort(-beliefs, kind="stable")
        return replace(step, tokens=step.tokens[order], beliefs=beliefs[order])

    def _spell(self, text: str) -> list[int]:
        """Tokens that write `text`, each as long as can be."""
        spelt = []
        rest = text
        while rest:
            for n in range(min(len(rest), self._longest), 0, -1):
                if rest[:n] in self._tokens:
                    spelt.append(self._tokens[rest[:n]])
                    rest = rest[n:]
                    break
            else:
                raise InputError(
                    f"the hotword {text.strip()!r} cannot be spelt: nothing writes {rest[0]!r}.",
                    cure="Write it with the letters of the model's language.",
                )
        return spelt


class Expecting:
    """`reader`, which expects `hotwords`."""

    def __init__(self, reader: Reader, hotwords: Hotwords) -> None:
        self._reader, self._hotwords = reader, hotwords
        self._written: list[int] = []

    def step(self, token: int) -> Step:
        self._written.append(token)
        return self._hotwords.raised(self._written, self._reader.step(token))
