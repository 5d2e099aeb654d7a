"""What an alignment says: the rows of each word, and of each character."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int32]


@dataclass(frozen=True)
class Place:
    """A word, `text[start:end]`, said in the rows [first, last] of a sound.

    `confidence`, in [0, 1], is how far the sound bears it out: next to 0 for a word that was not
    heard there, however sure the LLM was.
    """

    text: str
    start: int
    end: int
    first: int
    last: int
    confidence: float


@dataclass(frozen=True)
class Alignment:
    """The words of `text` in order, never going back; `rows` int32 [len(text)] is the row of each
    character. `n_rows` is the length of the sound, `score` the log probability of the path.
    """

    text: str
    words: tuple[Place, ...]
    rows: Rows
    n_rows: int
    score: float = -math.inf

    @property
    def confidence(self) -> float:
        """Mean confidence of the words, by letters; 0 without any."""
        weights = [word.end - word.start for word in self.words]
        total = sum(
            word.confidence * weight for word, weight in zip(self.words, weights, strict=True)
        )
        return total / sum(weights) if weights else 0.0

    def token_rows(self, pieces: Sequence[str]) -> list[tuple[int, int]]:
        """Rows (first, last) of each token; `pieces` are their texts, which make up `text` but for
        white space around it. A token of white space lies where the next one begins.
        """
        at = -(len("".join(pieces)) - len("".join(pieces).lstrip()))
        rows: list[tuple[int, int]] = []
        last = max(0, len(self.text) - 1)
        for piece in pieces:
            # The space before a word belongs to the token, not to the sound.
            begin = at + len(piece) - len(piece.lstrip())
            at += len(piece)
            first = min(max(begin, 0), last)
            end = min(max(at - 1, first), last)
            rows.append((int(self.rows[first]), int(self.rows[end])) if self.text else (0, 0))
        return rows


def spread(text: str, spans: Sequence[tuple[int, int]], n_rows: int) -> Alignment:
    """Words in even steps, believed in not at all: all that can be said of more words than rows."""
    rows = (np.arange(len(text)) * n_rows // max(1, len(text))).astype(np.int32)
    words = tuple(
        Place(text[start:end], start, end, int(rows[start]), int(rows[end - 1]), 0.0)
        for start, end in spans
    )
    return Alignment(text, words, rows, n_rows)
