"""Stop a decoder that has lost its way: repetition loops and runaway length.

Small audio LLMs loop on hard clips, and on noise they invent text that never ends. But people do
say a sentence four times: what repeats is a loop only if the sound does not bear it out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from edge_audiokv.engine.decoding.tags import Tags

TEXT_TOKENS_PER_S = 8.0


def most_tokens(duration_s: float, answer_tags: str = "") -> int:
    """Tokens that the guard lets a text of so much sound have, but for its slack: those that only
    write tags may be as many as the others.
    """
    return int(duration_s * TEXT_TOKENS_PER_S) * (2 if answer_tags else 1)


class Witness(Protocol):
    """Knows how far the sound bears out what was written."""

    def bears_out(self, first: int, last: int) -> bool:
        """Were the tokens [first, last) heard, each round at a place of its own?"""
        ...

    def n_borne_out(self, first: int) -> int:
        """After how many tokens, at least `first`, the text leaves the sound."""
        ...


@dataclass
class LoopGuard:
    """Watches generated token ids one by one.

    A loop is a run of `min_repeats` equal n-grams in a row, for any n up to `max_period_tokens`;
    short n-grams must repeat more often, since people do say "no no no". With a `witness` it is one
    only if the last round was not heard; without one, tokens alone decide.
    A runaway is text longer than speech can be: `max_tokens_per_s` times the clip's seconds, plus
    `slack_tokens`.
    With `tags` what only writes tags is judged for itself: it may be as long as the text, enough
    for a turn every two seconds, and neither parts the rounds of a loop nor makes one, for times
    count up and speakers come back.
    """

    duration_s: float
    witness: Witness | None = None
    tags: Tags | None = None
    max_period_tokens: int = 24
    min_repeats: int = 3
    min_loop_tokens: int = 12
    max_tokens_per_s: float = TEXT_TOKENS_PER_S
    slack_tokens: int = 16
    history: list[int] = field(default_factory=list)
    # Tokens outside tags, their places in the history, and those after which a tag is open.
    _said: list[int] = field(default_factory=list)
    _outside: list[int] = field(default_factory=list)
    _open: set[int] = field(default_factory=set)

    @property
    def max_tokens(self) -> int:
        """Tokens after which the text, or all its tags together, is a runaway."""
        return int(self.duration_s * self.max_tokens_per_s) + self.slack_tokens

    def push(self, token: int) -> str | None:
        """Add one token; returns "loop" or "runaway" when decoding should stop, else None."""
        at = len(self.history)
        self.history.append(token)
        if self.tags is not None:
            is_tag = self.tags.push(token)
            if self.tags.is_open:
                self._open.add(at)
            if is_tag:
                n_tags = len(self.history) - len(self._outside)
                return "runaway" if n_tags > self.max_tokens else None
        self._said.append(token)
        self._outside.append(at)
        if len(self._outside) > self.max_tokens:
            return "runaway"
        return "loop" if self._loop_period() else None

    def clean(self) -> list[int]:
        """The tokens without the repeats of a loop at the end: what was heard stays, and its first
        round in any case.
        """
        period = self._loop_period()
        if not period:
            return list(self.history)
        said, n_said = self._said, len(self._said)
        while n_said >= 2 * period and (
            said[n_said - period : n_said] == said[n_said - 2 * period : n_said - period]
        ):
            n_said -= period
        end = [*self._outside, len(self.history)][n_said]
        if self.witness is not None:
            end = max(end, self.witness.n_borne_out(end))
        while end - 1 in self._open:
            end -= 1
        return self.history[:end]

    def _loop_period(self) -> int:
        """Tokens of one round of a loop that goes on at the end; 0 if there is none."""
        for period in range(1, self.max_period_tokens + 1):
            repeats = max(self.min_repeats, -(-self.min_loop_tokens // period))
            span = period * repeats
            if len(self._said) < span:
                continue
            tail = self._said[-span:]
            if tail[period:] == tail[:-period]:
                heard = self.witness is not None and self.witness.bears_out(
                    self._outside[-period], len(self.history)
                )
                return 0 if heard else period
        return 0
