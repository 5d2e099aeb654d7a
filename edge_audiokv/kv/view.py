"""What a policy sees of the cache: the rows of all heads in one rectangle, and what each is.

L layers, H KV heads, T the most rows that a head holds, D head dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_audiokv.kv.shape import FloatArray, IntArray, KVShape, Rows

KindArray = NDArray[np.int8]
BoolArray = NDArray[np.bool_]


class Kind(IntEnum):
    """What a token is. Sinks are the first tokens of the session, whatever else they are."""

    SINK = 0
    PROMPT = 1  # template text and questions
    AUDIO = 2
    TEXT = 3  # generated text


class Cache(Protocol):
    """The part of the native context that an eviction uses."""

    @property
    def counts(self) -> IntArray: ...
    def positions(self) -> IntArray: ...
    def scores(self) -> FloatArray: ...
    def keep(self, rows: Rows) -> None: ...
    def read_keys(self, layer: int, head: int) -> FloatArray: ...
    def read_values(self, layer: int, head: int) -> FloatArray: ...
    def write_values(self, layer: int, head: int, rows: IntArray, values: FloatArray) -> None: ...


def _no_vectors(layer: int, head: int) -> FloatArray:
    raise LookupError(f"this view carries no vectors of head {head} in layer {layer}")


@dataclass(frozen=True)
class KVView:
    """A snapshot. Arrays are [L, H, T]; entries at or beyond a head's count are padding.

    counts      rows of each head, int32 [L, H]
    positions   ascending places in time, the same for all heads, -1 beyond the end, int32: true
                positions until old time is squeezed (places.py)
    kind_of     kind of each place, int8 [P]
    scores      attention of the last observed queries (the window), averaged over them and the
                query group, float32 (needs "scores")
    ema         the same, a decayed mean over text queries (needs "ema"); ema_weight: the decayed
                number of text queries that saw a row, 0 for a row that none has seen
    total       sums over all observed queries (needs "total"); seen: queries a row was observed by
    variance    variance over observations (needs "variance")
    times_of    when each place was heard, in tokens since the beginning, int32 [P]
    novelty_of  novelty of each place, float [P], 1 where it is not audio (needs "novelty")
    n_fresh     rows that the last append brought (grace)
    first_layer the model's layer that layer 0 of this view is
    """

    shape: KVShape
    counts: IntArray
    positions: IntArray
    kind_of: KindArray
    targets: IntArray
    scores: FloatArray | None = None
    ema: FloatArray | None = None
    ema_weight: FloatArray | None = None
    total: FloatArray | None = None
    seen: FloatArray | None = None
    variance: FloatArray | None = None
    times_of: IntArray | None = None
    novelty_of: NDArray[np.floating] | None = None
    n_fresh: int = 0
    first_layer: int = 0
    read_keys: Callable[[int, int], FloatArray] = field(default=_no_vectors, repr=False)
    read_values: Callable[[int, int], FloatArray] = field(default=_no_vectors, repr=False)

    @property
    def n_rows(self) -> int:
        """T, the padded number of rows."""
        return int(self.positions.shape[2])

    @cached_property
    def valid(self) -> BoolArray:
        """Rows that exist, [L, H, T]."""
        return np.arange(self.n_rows, dtype=np.int32) < self.counts[..., None]

    @cached_property
    def kinds(self) -> KindArray:
        """Kind of each row, int8 [L, H, T]; padding reads TEXT."""
        if self.kind_of.size == 0:
            return np.full(self.positions.shape, Kind.TEXT, np.int8)
        kinds = self.kind_of[np.clip(self.positions, 0, self.kind_of.size - 1)]
        return np.where(self.valid, kinds, np.int8(Kind.TEXT))

    @cached_property
    def novelty(self) -> FloatArray:
        """Novelty of each row, float32 [L, H, T] (novelty.py); ones if the view carries none."""
        if self.novelty_of is None or self.novelty_of.size == 0:
            return np.ones(self.positions.shape, np.float32)
        at = np.clip(self.positions, 0, self.novelty_of.size - 1)
        return np.asarray(self.novelty_of[at], np.float32)

    @cached_property
    def rank_from_end(self) -> IntArray:
        """0 for a head's newest row, 1 for the one before, ...; negative in the padding."""
        return np.asarray(
            self.counts[..., None] - 1 - np.arange(self.n_rows, dtype=np.int32), np.int32
        )

    @cached_property
    def frames(self) -> IntArray:
        """Index of each row on the grid of all audio frames that are still known, -1 if not audio.

        It is uniform in time but where old time was squeezed: there it closes up.
        """
        if self.kind_of.size == 0:
            return np.full(self.positions.shape, -1, np.int32)
        is_audio = self.kind_of == Kind.AUDIO
        ordinal = np.where(is_audio, np.cumsum(is_audio, dtype=np.int32) - 1, -1).astype(np.int32)
        frames = ordinal[np.clip(self.positions, 0, self.kind_of.size - 1)]
        return np.where(self.valid, frames, np.int32(-1))

    def layers(self) -> Iterator[KVView]:
        """A view of each layer alone, made as it is asked for."""
        for layer in range(self.shape.n_layer):
            one = slice(layer, layer + 1)
            statistics = {
                name: getattr(self, name)[one]
                for name in ("scores", "ema", "ema_weight", "total", "seen", "variance")
                if getattr(self, name) is not None
            }
            yield replace(
                self,
                shape=replace(self.shape, n_layer=1),
                counts=self.counts[one],
                positions=self.positions[one],
                targets=self.targets[one],
                first_layer=self.first_layer + layer,
                **statistics,
            )

    def attention(self) -> FloatArray:
        """`scores`, or zeros where nothing was scored yet."""
        return np.zeros(self.positions.shape, np.float32) if self.scores is None else self.scores

    def keys(self, layer: int, head: int) -> FloatArray:
        """Rotated keys of one head, float32 [count, D]."""
        return self.read_keys(self.first_layer + layer, head)

    def values(self, layer: int, head: int) -> FloatArray:
        """Values of one head, float32 [count, D]."""
        return self.read_values(self.first_layer + layer, head)
