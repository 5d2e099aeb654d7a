"""Where words were said, by what the LLM looked at: for encoders that name no words.

Some heads look at the sound of the word that is being written ("audio-critical", AudioKV,
2604.06694); a head profile says which, or else the first tokens do: heads whose looks are sharp and
move. From their attention each token gets a row, never behind the one before (Whisper's authors
align words in the same way, by dynamic time warping over heads that they chose).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_audiokv.engine.alignment.place import Alignment, Place, spread
from edge_audiokv.engine.alignment.text import letters, word_spans
from edge_audiokv.kv.shape import FloatArray, IntArray

N_HEADS = 8
# Tokens by which heads are chosen where no profile says: what is kept of them is bounded.
_TRIED_TOKENS = 12


class Watcher:
    """What the heads looked at, token by token: attention [N, T] over the rows of one sound.

    `first` is the position of the sound's first row, `n_rows` their number T. `weights` [L, H] is
    a head profile, or None.
    """

    def __init__(self, first: int, n_rows: int, weights: FloatArray | None = None) -> None:
        self.first, self.n_rows = first, n_rows
        self._heads: NDArray[np.intp] | None = None
        if weights is not None:
            self._heads = np.argsort(-weights.ravel(), kind="stable")[:N_HEADS]
        self._tried: list[FloatArray] = []
        self._seen: list[FloatArray] = []

    def look(self, scores: FloatArray, positions: IntArray) -> None:
        """One more token's attention over the cache's rows: [L, H, R], and their positions."""
        rows = positions - self.first
        inside = (rows >= 0) & (rows < self.n_rows)
        n_heads = scores.shape[0] * scores.shape[1]
        heads = np.arange(n_heads).reshape(*scores.shape[:2], 1)
        flat = np.where(inside, heads * self.n_rows + rows, 0)
        weights = np.where(inside, scores, 0.0)
        seen = np.bincount(flat.ravel(), weights.ravel(), minlength=n_heads * self.n_rows)
        by_head = seen.reshape(n_heads, self.n_rows).astype(np.float32)
        if self._heads is not None:
            self._seen.append(by_head[self._heads])
            return
        self._tried.append(by_head)
        if len(self._tried) == _TRIED_TOKENS:
            self._choose()

    def attention(self) -> FloatArray:
        """[N, T], each row at most 1."""
        if self._heads is None:
            self._choose()
        if not self._seen:
            return np.empty((0, self.n_rows), np.float32)
        seen = np.stack(self._seen)  # [N, heads, T]
        # What a head looks at whatever is written says nothing.
        seen = np.maximum(seen - np.median(seen, axis=0), 0)
        seen /= np.maximum(seen.max(axis=2, keepdims=True), 1e-9)
        return np.asarray(seen.mean(axis=1), np.float32)

    def _choose(self) -> None:
        if self._tried:
            tried = np.stack(self._tried)
            moving = np.maximum(tried - np.median(tried, axis=0), 0).max(axis=2).mean(axis=0)
            self._heads = np.argsort(-moving, kind="stable")[:N_HEADS]
            self._seen = [by_head[self._heads] for by_head in self._tried]
            self._tried = []


def align_by_attention(
    text: str, pieces: Sequence[str], attention: FloatArray, beliefs: Sequence[float]
) -> Alignment:
    """The words of `text`, which `pieces` make up, at the rows that were looked at for each piece.

    attention [N, T] and the LLM's own probability of each piece [N] give the confidences: of a word
    the least of its pieces.
    """
    spans, n_rows = word_spans(text), attention.shape[1]
    if not spans or not n_rows or len(attention) != len(pieces):
        return spread(text, spans, n_rows)
    rows = np.zeros(len(text), np.int32)
    belief = np.ones(len(text))
    joined = "".join(pieces)
    at = len(joined.lstrip()) - len(joined)
    for piece, row, chance in zip(pieces, forward(attention).tolist(), beliefs, strict=True):
        begin = max(0, at + len(piece) - len(piece.lstrip()))
        at += len(piece)
        rows[begin : max(at, 0)] = row
        belief[begin : max(at, 0)] = chance
    rows = np.maximum.accumulate(rows)
    words = []
    for start, end in spans:
        heard = [start + place for place, _ in letters(text[start:end])] or [start]
        confidence = float(belief[heard].min())
        first, last = int(rows[heard[0]]), int(rows[heard[-1]])
        words.append(Place(text[start:end], start, end, first, last, confidence))
    return Alignment(text, tuple(words), rows, n_rows)


def forward(attention: FloatArray) -> NDArray[np.intp]:
    """Rows [N], never falling, that are looked at most in all: attention float32 [N, T]."""
    n, n_rows = attention.shape
    came = np.zeros((n, n_rows), np.intp)
    best = np.zeros(n_rows)
    row = np.arange(n_rows)
    for token in range(n):
        reached = np.maximum.accumulate(best)
        came[token] = np.maximum.accumulate(np.where(best == reached, row, 0))
        best = reached + attention[token]
    rows = np.empty(n, np.intp)
    at = int(best.argmax())
    for token in range(n - 1, -1, -1):
        rows[token] = at
        at = int(came[token, at])
    return rows
