"""Look for a better text than the greedy one, where the greedy one was a close call.

Limited discrepancy search (Harvey and Ginsberg 1995): one other choice each time, then greedily to
the end. Scores only fall as a text grows (branch and bound), so a branch is left as soon as it is
worse than the best whole text; most are after a word or two. Branches are taken from the last to
the first, so that what stands before each is still in the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Protocol

from edge_audiokv.engine.decoding.choose import Choice, Chooser, Hybrid
from edge_audiokv.engine.decoding.decode import Decoded, TokenSink, Vocabulary, text_of
from edge_audiokv.engine.decoding.guard import LoopGuard


class Branching(TokenSink, Protocol):
    """What a search needs of a cache: to take back what it wrote, without a trace."""

    def truncate(self, position: int) -> None: ...

    def unobserved(self) -> AbstractContextManager[None]: ...


class Search:
    """Looks for a better text, once; the text that it begins with begins at `start` in `cache`.

    `new_guard` makes the guard that every branch of a chooser must pass.
    """

    def __init__(
        self,
        cache: Branching,
        vocabulary: Vocabulary,
        start: int,
        new_guard: Callable[[Chooser], LoopGuard],
    ) -> None:
        self.cache, self.vocabulary, self.start = cache, vocabulary, start
        self.new_guard = new_guard
        self._tokens: tuple[int, ...] = ()
        self._n_generated = 0

    def better(self, decoded: Decoded, chooser: Chooser) -> Decoded:
        """`decoded` or a text with a higher score; `chooser` has just written `decoded`.

        Afterwards the cache holds only the first `n_kept(best)` tokens of the best text for sure.
        """
        self._tokens, self._n_generated = decoded.ids, 0
        if decoded.flags or not isinstance(chooser, Hybrid):
            return decoded
        best, highest = decoded.ids, chooser.end()
        closest = sorted(chooser.choices, key=lambda choice: -choice.n_before)
        with self.cache.unobserved():
            for choice in closest:
                if choice.other_score > highest:
                    found = self._branch(decoded.ids, choice, chooser, highest)
                    if found is not None:
                        best, highest = found
        if best == decoded.ids:
            return replace(decoded, n_generated=decoded.n_generated + self._n_generated)
        text = text_of(self.vocabulary, best).strip()
        return Decoded(text, best, decoded.n_generated + self._n_generated)

    def n_kept(self, best: Decoded) -> int:
        """How many tokens of `best` are in the cache."""
        n_same = 0
        for said, kept in zip(best.ids, self._tokens, strict=False):
            if said != kept:
                break
            n_same += 1
        return n_same

    def _branch(
        self, trunk: tuple[int, ...], choice: Choice, chooser: Hybrid, bound: float
    ) -> tuple[tuple[int, ...], float] | None:
        """The text that `choice` leads to and its score, if that is above `bound`."""
        before = trunk[: choice.n_before]
        if self.vocabulary.is_end_of_generation(choice.other):
            return before, choice.other_score
        guard = self.new_guard(chooser)
        for token in before:
            guard.push(token)
        self.cache.truncate(self.start + choice.n_before)
        self._tokens = before
        chooser.turn_off(choice)
        token = choice.other
        while guard.push(token) is None:
            logits = self.cache.append_generated([token])
            self._tokens = (*self._tokens, token)
            self._n_generated += 1
            token = chooser.pick(logits)
            if self.vocabulary.is_end_of_generation(token):
                total = chooser.end()
                return (tuple(guard.history), total) if total > bound else None
            chooser.push(token)
            if chooser.score <= bound:
                return None
        return None
