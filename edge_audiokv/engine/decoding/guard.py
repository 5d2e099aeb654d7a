"""Stop a decoder that has lost its way: repetition loops and runaway length.

Small audio LLMs loop on hard clips, and on noise they invent text that never ends. But people do
say a sentence four times: what repeats is a loop only if the sound does not bear it out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


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
    """

    duration_s: float
    witness: Witness | None = None
    max_period_tokens: int = 24
    min_repeats: int = 3
    min_loop_tokens: int = 12
    max_tokens_per_s: float = 8.0
    slack_tokens: int = 16
    history: list[int] = field(default_factory=list)

    @property
    def max_tokens(self) -> int:
        """Tokens after which the text is a runaway."""
        return int(self.duration_s * self.max_tokens_per_s) + self.slack_tokens

    def push(self, token: int) -> str | None:
        """Add one token; returns "loop" or "runaway" when decoding should stop, else None."""
        self.history.append(token)
        if len(self.history) > self.max_tokens:
            return "runaway"
        return "loop" if self._loop_period() else None

    def clean(self) -> list[int]:
        """The tokens without the repeats of a loop at the end: what was heard stays, and its first
        round in any case.
        """
        period = self._loop_period()
        if not period:
            return list(self.history)
        end = len(self.history)
        while end >= 2 * period and (
            self.history[end - period : end] == self.history[end - 2 * period : end - period]
        ):
            end -= period
        if self.witness is not None:
            end = max(end, self.witness.n_borne_out(end))
        return self.history[:end]

    def _loop_period(self) -> int:
        """Tokens of one round of a loop that goes on at the end; 0 if there is none."""
        tokens = self.history
        for period in range(1, self.max_period_tokens + 1):
            repeats = max(self.min_repeats, -(-self.min_loop_tokens // period))
            span = period * repeats
            if len(tokens) < span:
                continue
            tail = tokens[-span:]
            if tail[period:] == tail[:-period]:
                heard = self.witness is not None and self.witness.bears_out(
                    len(tokens) - period, len(tokens)
                )
                return 0 if heard else period
        return 0
