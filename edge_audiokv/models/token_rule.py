"""How many rows an encoder makes of sound: by the token, by the block, or by the whole window.

Four kinds cover the audio LLMs that there are:

linear   each `1 / tokens_per_second` of sound gives a row (Ultravox, Qwen2-Audio)
blocks   each `block_s` gives a whole number of rows, a shorter last block as many as the graph
         says (Qwen3-ASR: 13 a second)
windows  each `block_s` gives a whole number of rows, and a shorter last block is filled with
         silence (Voxtral: 375 in 30 s)
timed    as linear, and after each `block_s` of sound the LLM reads how many seconds that were, as
         text (MOSS-Transcribe-Diarize: "2", "4", ...); the graph knows nothing of it
"""

from __future__ import annotations

import math
from dataclasses import dataclass

KINDS = ("linear", "blocks", "windows", "timed")
# A short last block is padded to this grid: the hop of every front-end in use.
TAIL_S = 0.01
# Of the seconds in most recordings' parts.
_DIGITS = 2


@dataclass(frozen=True)
class TokenRule:
    """Rows for samples, and samples for rows. Needs `fault` to be None.

    `chunk_s`, if not 0, is what attention in the encoder is cut into: long sound is then cut at its
    multiples, so that windows hear what the whole would have heard.
    """

    sample_rate_hz: int = 16000
    tokens_per_second: float = 12.5
    kind: str = "linear"
    block_s: float = 0.0
    chunk_s: float = 0.0

    @property
    def fault(self) -> str | None:
        """What keeps the rule from working; None if it does."""
        rate = self.sample_rate_hz
        if self.is_even:
            if not _is_whole(rate / self.tokens_per_second):
                return (
                    f"{self.tokens_per_second:g} tokens a second do not divide {rate} Hz"
                    ' (rows that come in blocks have token_rule = "blocks")'
                )
            if self.kind == "linear" and self.block_s:
                return 'block_s needs token_rule = "blocks", "windows" or "timed"'
            if self.kind == "timed" and not _is_whole(self.block_s):
                return f"block_s {self.block_s:g} is no whole number of seconds"
            if self.kind == "timed" and not _is_whole(self.block_s * self.tokens_per_second):
                return f"block_s {self.block_s:g} gives no whole number of rows"
        elif not self.block_s:
            return f'block_s is needed for token_rule = "{self.kind}"'
        elif not _is_whole(self.block_s * rate) or not _is_whole(self.block_s / TAIL_S):
            return f"block_s {self.block_s:g} is no whole number of samples and of {TAIL_S:g} s"
        elif not _is_whole(self.block_s * self.tokens_per_second):
            return f"block_s {self.block_s:g} gives no whole number of rows"
        elif not _is_whole(rate * TAIL_S):
            return f"token_rule {self.kind} needs a rate that is a multiple of 100 Hz, not {rate}"
        if self.chunk_s and not _is_whole(round(self.chunk_s * rate) / self.unit_samples):
            return f"chunk_s {self.chunk_s:g} is no multiple of what gives whole rows"
        return None

    @property
    def is_even(self) -> bool:
        """Is each row of the graph's that of an equal stretch of sound?"""
        return self.kind in ("linear", "timed")

    @property
    def unit_samples(self) -> int:
        """Samples that give a whole number of rows by themselves: a token's, or a block's."""
        if self.is_even:
            return round(self.sample_rate_hz / self.tokens_per_second)
        return round(self.block_s * self.sample_rate_hz)

    @property
    def unit_rows(self) -> int:
        """Rows of `unit_samples`."""
        return 1 if self.is_even else round(self.block_s * self.tokens_per_second)

    @property
    def rows_per_second(self) -> float:
        """About how many rows the LLM reads for a second of sound."""
        return self.tokens_per_second + (_DIGITS / self.block_s if self.kind == "timed" else 0)

    @property
    def cut_samples(self) -> int:
        """Long sound is cut at multiples of this."""
        return round(self.chunk_s * self.sample_rate_hz) if self.chunk_s else self.unit_samples

    def padded(self, n_samples: int) -> int:
        """Samples that the graph is given for a window of `n_samples`; the rest is silence."""
        unit = self.unit_samples
        if self.kind != "blocks":
            return -(-n_samples // unit) * unit
        grid = round(self.sample_rate_hz * TAIL_S)
        # Two hops at least: front-ends mirror the sound at its ends.
        return max(2 * grid, -(-n_samples // grid) * grid) if n_samples else 0

    def times(self, n_rows: int, after_rows: int = 0) -> list[tuple[int, str]]:
        """The texts between `n_rows` rows of the graph's, after `after_rows` others of the same
        sound: how many of the rows are before each, and its digits.
        """
        if self.kind != "timed":
            return []
        step = round(self.block_s * self.tokens_per_second)
        first, last = after_rows // step + 1, (after_rows + n_rows) // step
        return [
            (number * step - after_rows, str(round(number * self.block_s)))
            for number in range(first, last + 1)
        ]

    def most_rows(self, n_samples: int) -> int:
        """T, the rows that `n_samples` give, texts between them counted; of a short last block, the
        most that it may give.
        """
        return self._with_times(-(-n_samples // self.unit_samples) * self.unit_rows)

    def rows(self, n_samples: int) -> int:
        """T as near as it is known before the graph has run; exact but for a short last block."""
        return self._with_times(self.graph_rows(n_samples))

    def graph_rows(self, n_samples: int) -> int:
        """`rows`, without the texts between them."""
        whole, rest = divmod(n_samples, self.unit_samples)
        if self.kind != "blocks":
            return (whole + (rest > 0)) * self.unit_rows
        return whole * self.unit_rows + math.ceil(rest / self.unit_samples * self.unit_rows)

    def _with_times(self, n_rows: int) -> int:
        return n_rows + sum(len(text) for _, text in self.times(n_rows))

    def rows_in(self, seconds: float) -> int:
        """The most rows that a stretch of `seconds` gives."""
        return self.most_rows(math.ceil(seconds * self.sample_rate_hz))

    def fits(self, n_rows: int, n_samples: int) -> bool:
        """May the graph give `n_rows` for a window of `n_samples` that has been padded?"""
        whole, rest = divmod(n_samples, self.unit_samples)
        least = whole * self.unit_rows
        return least < n_rows <= least + self.unit_rows if rest else n_rows == least


def _is_whole(value: float) -> bool:
    return value >= 1 and abs(value - round(value)) < 1e-6 * value
