"""What was heard when: one line of places that all heads share, whatever became of positions.

A place is the number of a token among those that are still known, in order of time. As long as
nothing was squeezed, places are positions. A squeeze gives the rows of each head other positions;
their places stay the same for all heads, and so does the time that each place carries.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_audiokv.errors import PolicyError
from edge_audiokv.kv.shape import FloatArray, IntArray, Rows
from edge_audiokv.kv.view import Kind, KindArray

Item = TypeVar("Item", bound=np.generic)


class Places:
    """Kind, time and novelty of every place P; which place a row has.

    `n` is the number of places, `now` the time of the next token; `novelty` tells whether novelties
    are kept. Tables grow with the tokens since the last squeeze, which leaves only places that some
    head holds.
    """

    bytes_per_row = 4
    """What a row of the cache takes once its head was squeezed."""

    def __init__(self, *, novelty: bool) -> None:
        self.n = 0
        self.now = 0
        self._has_novelty = novelty
        self._kinds = np.empty(128, np.int8)
        self._times = np.empty(128, np.int32)
        self._novelty = np.empty(128 if novelty else 0, np.float16)
        # Rows below this position were squeezed: their places stand in a table [L, H, W], in order
        # of rows. From there on a place is a position and a constant.
        self._base = self._base_place = 0
        self._squeezed: IntArray | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the tables."""
        table = 0 if self._squeezed is None else self._squeezed.nbytes
        return self._kinds.nbytes + self._times.nbytes + self._novelty.nbytes + table

    @property
    def kinds(self) -> KindArray:
        """Kind of each place, int8 [P], a view."""
        return self._kinds[: self.n]

    @property
    def times(self) -> IntArray:
        """When each place was heard, int32 [P], a view: tokens since the beginning, those included
        that are no longer known.
        """
        return self._times[: self.n]

    @property
    def novelty(self) -> NDArray[np.float16] | None:
        """Novelty of each place, float16 [P], a view; None if none is kept."""
        return self._novelty[: self.n] if self._has_novelty else None

    def of(self, positions: IntArray) -> IntArray:
        """Places of rows, int32 [L, H, T], of their positions; -1 where that is -1."""
        if self._squeezed is None:
            return positions
        places = positions + np.int32(self._base_place - self._base)
        width = min(self._squeezed.shape[2], positions.shape[2])
        there, old = positions[..., :width], self._squeezed[..., :width]
        np.copyto(places[..., :width], old, where=(there >= 0) & (there < self._base))
        places[positions < 0] = -1
        return places

    def append(self, kind: Kind, n_tokens: int, novelty: FloatArray | None = None) -> None:
        """The next tokens; `novelty` [n_tokens], each 1 without it."""
        start, end = self.n, self.n + n_tokens
        self._kinds = _room(self._kinds, start, end)
        self._times = _room(self._times, start, end)
        self._kinds[start:end] = kind
        self._times[start:end] = np.arange(self.now, self.now + n_tokens, dtype=np.int32)
        if self._has_novelty:
            self._novelty = _room(self._novelty, start, end)
            self._novelty[start:end] = 1.0 if novelty is None else novelty
        self.n, self.now = end, self.now + n_tokens

    def append_all(self, other: Places, novelty: FloatArray | None = None) -> None:
        """All places of `other` as the next ones; `novelty` goes to its audio, in order."""
        start, of_all = self.n, None
        if self._has_novelty and novelty is not None:
            of_all = np.ones(other.n, np.float32)
            of_all[other.kinds == Kind.AUDIO] = novelty
        self.append(Kind.PROMPT, other.n, of_all)
        self._kinds[start : self.n] = other.kinds

    def kept(self, rows: Rows) -> None:
        """The cache kept these rows."""
        table = self._squeezed
        if table is None:
            return
        offset, width = rows.offset, table.shape[2]
        for layer, head in np.ndindex(*rows.count.shape):
            start = int(offset[layer, head])
            # Rows that came after the squeeze lie behind those of the table.
            left = rows.index[start : start + int(rows.count[layer, head])]
            left = left[: int(np.searchsorted(left, width))]
            table[layer, head, : left.size] = table[layer, head, left]

    def truncate(self, position: int) -> None:
        """The cache dropped every row from `position` on; the next token gets it."""
        position = max(position, 0)
        left = min(self.n, max(self._base_place, position - self._base + self._base_place))
        self.n, self.now = left, self.now - (self.n - left)
        self._base = min(self._base, position)
        if position == 0:
            self.n = self.now = self._base_place = 0
            self._squeezed = None

    def shift(self, delta: int, from_position: int) -> None:
        """Positions from `from_position` on moved by `delta` <= 0, and their places with them.

        Raises PolicyError for another direction, and after a squeeze.
        """
        if delta > 0 or from_position + delta < 0 or self._squeezed is not None:
            raise PolicyError(f"Positions from {from_position} cannot move by {delta}.")
        start, moved = min(self.n, from_position + delta), max(0, self.n - from_position)
        for table in self._tables():
            table[start : start + moved] = table[self.n - moved : self.n].copy()
        self.n = start + moved

    def squeeze(self, places: IntArray, position: int, n_sinks: int) -> None:
        """Rows that have `places` [L, H, T] (-1 beyond a head's end) got other positions, and the
        next token `position`. Places that no head holds are forgotten, but for sinks.
        """
        used = np.zeros(self.n, np.bool_)
        used[:n_sinks] = True
        for layer in places:
            used[layer[layer >= 0]] = True
        number = np.cumsum(used, dtype=np.int32) - np.int32(1)
        n = int(used.sum())
        for table in self._tables():
            table[:n] = table[: self.n][used]
        self._squeezed = np.where(places >= 0, number[places], np.int32(-1))
        self._base, self._base_place, self.n = position, n, n

    def _tables(self) -> list[NDArray[np.generic]]:
        return [self._kinds, self._times, *([self._novelty] if self._has_novelty else [])]


def _room(array: NDArray[Item], n_used: int, n_needed: int) -> NDArray[Item]:
    """The array, or a longer copy of its used part, at least doubled."""
    if n_needed <= array.size:
        return array
    grown = np.empty(max(n_needed, 2 * array.size), array.dtype)
    grown[:n_used] = array[:n_used]
    return grown
