"""The controller: knows what every row is, when to score and when to evict; asks what stays.

The engine drives it beside the cache:

    controller.appended(Kind.AUDIO, n)          after every decode
    controller.observe(cache, n_queries=w)      after a scored decode
    controller.make_room(cache, n)              before the next n tokens; evicts if they do not fit
    controller.truncate(position, cache.counts) after cache.truncate(position)
    controller.shift(delta, from_position=p)    after cache.shift(...)
    controller.moved(positions, p)              after cache.move(...): what they were, what is next
    controller.adopt(turn, counts, turn_counts) after cache.append_rows(...)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_audiokv.errors import PolicyError
from edge_audiokv.kv.merge import Merge
from edge_audiokv.kv.places import Places
from edge_audiokv.kv.policy import Policy
from edge_audiokv.kv.shape import FloatArray, IntArray, KVShape, Rows
from edge_audiokv.kv.statistics import RowStatistics
from edge_audiokv.kv.view import Cache, Kind, KindArray, KVView


@dataclass(frozen=True)
class ControllerSettings:
    """When to score and how far to evict.

    n_sinks             first tokens of the session that are sinks
    low_water           share of its capacity that an eviction leaves a full head (never less than
                        the incoming tokens need)
    score_every_tokens  generated tokens between two scored decode steps
    decay               of the mean over text queries, per observation
    """

    n_sinks: int = 4
    low_water: float = 0.9
    score_every_tokens: int = 16
    decay: float = 0.8


@dataclass(frozen=True)
class Eviction:
    """What one eviction did."""

    freed_rows: int
    freed_bytes: int
    kept_rows: int
    merged_rows: int = 0


class Controller:
    """Decides for one cache of fixed capacities [L, H] (all heads of one level have equal ones)."""

    def __init__(
        self,
        policy: Policy,
        shape: KVShape,
        capacity: IntArray,
        *,
        settings: ControllerSettings | None = None,
    ) -> None:
        self.policy, self.shape = policy, shape
        self.settings = settings or ControllerSettings()
        self.capacity = np.asarray(capacity, np.int32)
        if self.capacity.shape != (shape.n_layer, shape.n_kv_head):
            raise PolicyError(
                f"Capacities are {list(self.capacity.shape)}, the model has {shape.n_layer} layers"
                f" of {shape.n_kv_head} KV heads."
            )
        self._statistics = RowStatistics(
            self.capacity, policy.needs, decay=self.settings.decay, n_window=policy.n_window
        )
        self._places = Places(novelty=self.uses_novelty)
        self._n_fresh = 0

    @property
    def nbytes(self) -> int:
        """Bytes of statistics and of what is known of every place."""
        return self._statistics.nbytes + self._places.nbytes

    @property
    def kind_of(self) -> KindArray:
        """Kind of every place so far, int8 [P]: what it was appended as, or SINK."""
        kinds = self._places.kinds.copy()
        kinds[: self.settings.n_sinks] = Kind.SINK
        return kinds

    @property
    def now(self) -> int:
        """The time of the next token: how many came before, those that are gone included."""
        return self._places.now

    def rows_of(self, cache: Cache) -> IntArray:
        """Rows that each head holds of each kind, int32 [K, L, H] in the order of `Kind`."""
        places, kinds = self._places.of(cache.positions()), self.kind_of
        rows = np.zeros((len(Kind), *places.shape[:2]), np.int32)
        for layer, head in np.ndindex(*places.shape[:2]):
            held = places[layer, head]
            rows[:, layer, head] = np.bincount(kinds[held[held >= 0]], minlength=len(Kind))
        return rows

    def times(self, positions: IntArray) -> IntArray:
        """When rows at `positions` [L, H, T] were heard, in tokens since the beginning;
        -1 where that is -1. Moves do not change it.
        """
        places = self._places.of(positions)
        times = self._places.times
        if not times.size:
            return np.full(positions.shape, -1, np.int32)
        return np.where(places >= 0, times[places], np.int32(-1))

    # --- what happened ----------------------------------------------------------------------------

    def appended(self, kind: Kind, n_tokens: int, *, novelty: FloatArray | None = None) -> None:
        """`n_tokens` of one kind were appended at the next positions.

        `novelty` [n_tokens] goes with audio if `uses_novelty` (novelty.py); without it each is 1.
        """
        self._places.append(kind, n_tokens, novelty)
        self._n_fresh = n_tokens

    def adopt(
        self,
        turn: Controller,
        counts: IntArray,
        added: IntArray,
        *,
        novelty: FloatArray | None = None,
    ) -> None:
        """All of another cache was appended: `added` [L, H] rows after `counts` [L, H].

        `turn` is that cache's controller, with a policy that needs the same statistics. `novelty`
        goes to its audio, in order.
        """
        # Sinks are those of the session: a turn's own first tokens are what they were appended as.
        self._places.append_all(turn._places, novelty)
        self._n_fresh = turn._places.n
        self._statistics.append(turn._statistics, counts, added)

    def observe(self, cache: Cache, *, n_queries: int, text: bool = True) -> None:
        """A scored batch was decoded; `n_queries` are the queries its scores average over.

        `text` tells that they were text (a question, template text, a generated token), not audio.
        """
        if self.uses_scores:
            self.observe_scores(cache.scores(), cache.counts, n_queries=n_queries, text=text)

    def observe_scores(
        self, scores: FloatArray, counts: IntArray, *, n_queries: int, text: bool = True
    ) -> None:
        """`observe`, from arrays: scores [L, H, T], counts [L, H]."""
        self._statistics.observe(scores, counts, n_queries=n_queries, text=text)

    def kept(self, rows: Rows) -> None:
        """The cache kept these rows."""
        self._statistics.kept(rows)
        self._places.kept(rows)

    def truncate(self, position: int, counts: IntArray) -> None:
        """The cache dropped every row from `position` on and now holds `counts` rows."""
        self._places.truncate(position)
        self._n_fresh = 0
        self._statistics.truncate(counts)

    def forget_scores(self) -> None:
        """Begin to observe anew; rows and their kinds stay."""
        self._statistics.truncate(np.zeros_like(self.capacity))

    def shift(self, delta: int, *, from_position: int = 0) -> None:
        """Positions from `from_position` on moved by `delta` <= 0, before any move."""
        self._places.shift(delta, from_position)

    def moved(self, positions: IntArray, next_position: int) -> None:
        """Rows that were at `positions` [L, H, T] moved, each to a place of its own, and the next
        token will have `next_position`. Kinds, times and novelties go with them.
        """
        self._places.squeeze(self._places.of(positions), next_position, self.settings.n_sinks)

    def reset(self) -> None:
        """The cache was cleared."""
        self.truncate(0, np.zeros_like(self.capacity))

    # --- when -------------------------------------------------------------------------------------

    @property
    def uses_scores(self) -> bool:
        """The policy looks at attention: prompts and some decode steps should be scored."""
        return bool(self.policy.needs & {"scores", "ema", "total", "variance"})

    @property
    def uses_novelty(self) -> bool:
        """The policy looks at how much audio rows stand apart: give `appended` their novelty."""
        return "novelty" in self.policy.needs

    def wants_scores(self, n_decoded: int) -> bool:
        """Score the decode step that follows `n_decoded` generated tokens."""
        return self.uses_scores and n_decoded % self.settings.score_every_tokens == 0

    def must_evict(self, counts: IntArray, incoming_tokens: int) -> bool:
        """`incoming_tokens` more do not fit every head."""
        return bool((counts + incoming_tokens > self.capacity).any())

    def targets(self, counts: IntArray, incoming_tokens: int) -> IntArray:
        """Rows each head may keep, int32 [L, H]: full heads shrink to the low water mark, others
        stay.

        Raises PolicyError if `incoming_tokens` leave a head no row at all.
        """
        room = self.capacity - incoming_tokens
        if (room < 1).any():
            raise PolicyError(
                f"{incoming_tokens} tokens do not fit a head of {self.capacity.min()} rows.",
                cure="Append fewer tokens at a time, or raise mem= or kv_share=.",
            )
        low = np.minimum((self.capacity * self.settings.low_water).astype(np.int32), room)
        full = counts + incoming_tokens > self.capacity
        return np.where(full, np.minimum(counts, np.maximum(low, 1)), counts).astype(np.int32)

    # --- what stays -------------------------------------------------------------------------------

    def view(self, cache: Cache, targets: IntArray) -> KVView:
        """A snapshot of the cache for the policy; carries what the policy needs."""
        needs = self.policy.needs
        counts, positions = cache.counts, self._places.of(cache.positions())
        n_rows = positions.shape[2]
        novelty = self._places.novelty
        statistics: dict[str, Any] = {}
        if "scores" in needs:
            statistics["scores"], _ = self._statistics.read("scores", n_rows)
        if "ema" in needs:
            statistics["ema"], statistics["ema_weight"] = self._statistics.read("ema", n_rows)
        if "total" in needs:
            statistics["total"], statistics["seen"] = self._statistics.read("total", n_rows)
        if "variance" in needs:
            statistics["variance"], _ = self._statistics.read("variance", n_rows)
        return KVView(
            shape=self.shape,
            counts=counts,
            positions=positions,
            kind_of=self.kind_of,
            targets=targets,
            times_of=self._places.times.copy(),
            novelty_of=None if novelty is None else novelty.copy(),
            n_fresh=self._n_fresh,
            read_keys=cache.read_keys,
            read_values=cache.read_values,
            **statistics,
        )

    def plan(self, view: KVView) -> Rows:
        """The rows that stay: exactly min(count, target) of each head, ascending."""
        if not self.policy.by_layer:
            return self.policy.select(view)
        return Rows.join([self.policy.select(layer) for layer in view.layers()])

    def evict(self, cache: Cache, targets: IntArray) -> Eviction:
        """Shrink every head to its target, now. Nothing changes if the policy refuses."""
        view = self.view(cache, np.asarray(targets, np.int32))
        rows = self.plan(view)
        merges: list[Merge] = self.policy.merge(view, rows)
        cache.keep(rows)
        for merge in merges:
            cache.write_values(merge.layer, merge.head, merge.rows, merge.values)
        self.kept(rows)
        freed = int(view.counts.sum()) - int(rows.count.sum())
        merged = sum(merge.rows.size for merge in merges)
        return Eviction(freed, freed * self.shape.row_bytes, int(rows.count.sum()), merged)

    def make_room(self, cache: Cache, incoming_tokens: int) -> Eviction | None:
        """Evict if `incoming_tokens` more would not fit; None if nothing had to go.

        Raises PolicyError, and evicts nothing, if the policy's protected rows leave too little
        room.
        """
        counts = cache.counts
        if not self.must_evict(counts, incoming_tokens):
            return None
        if not self.policy.evicts:
            raise PolicyError(
                f"The KV cache is full and policy {self.policy.name} evicts nothing.",
                cure="Raise mem= or kv_share=, or choose another kv_policy=.",
            )
        return self.evict(cache, self.targets(counts, incoming_tokens))
