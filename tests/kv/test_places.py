"""Whatever becomes of positions, every row is known by what it is and when it was heard."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from edge_audiokv.errors import PolicyError
from edge_audiokv.kv.controller import Controller, ControllerSettings
from edge_audiokv.kv.placement import place
from edge_audiokv.kv.policy import make_policy
from edge_audiokv.kv.shape import KVShape, Rows
from edge_audiokv.kv.view import Kind

from .fake_cache import NumpyCache

SHAPE = KVShape(2, 2, 3, 32)
CAPACITY = np.full((2, 2), 96, np.int32)
SINKS = 2
KINDS = [Kind.PROMPT, Kind.AUDIO, Kind.TEXT]


def controller(policy: str = "audiokv-edge") -> Controller:
    return Controller(
        make_policy(policy), SHAPE, CAPACITY, settings=ControllerSettings(n_sinks=SINKS)
    )


class Memory(RuleBasedStateMachine):
    """A cache, its controller, and beside them what each row of each head is, row by row."""

    def __init__(self) -> None:
        super().__init__()
        self.cache, self.controller = NumpyCache(SHAPE, CAPACITY), controller()
        # (time, kind, novelty) of each row.
        self.rows = {at: [] for at in np.ndindex(2, 2)}
        self.now = 0
        # The next position when positions last moved, and whether they were squeezed.
        self.since, self.squeezed = 0, False

    def _room(self) -> int:
        return int((CAPACITY - self.cache.counts).min())

    @rule(kind=st.sampled_from(KINDS), n=st.integers(1, 30), novelty=st.floats(0, 1, width=16))
    def append(self, kind: Kind, n: int, novelty: float) -> None:
        n = min(n, self._room())
        audio = kind == Kind.AUDIO
        if n == 0:
            return
        self.cache.append(n)
        new = np.full(n, novelty, np.float32) if audio else None
        self.controller.appended(kind, n, novelty=new)
        self._appended([(kind, novelty if audio else 1.0)] * n)

    @rule(kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=20))
    def adopt(self, kinds: list[Kind]) -> None:
        kinds = kinds[: self._room()]
        if not kinds:
            return
        turn, counts = controller(), self.cache.counts
        for kind in kinds:
            turn.appended(kind, 1)
        self.cache.append(len(kinds))
        novelty = np.full(kinds.count(Kind.AUDIO), 0.25, np.float32)
        self.controller.adopt(turn, counts, np.full((2, 2), len(kinds)), novelty=novelty)
        self._appended([(kind, 0.25 if kind == Kind.AUDIO else 1.0) for kind in kinds])

    def _appended(self, what: list[tuple[Kind, float]]) -> None:
        for rows in self.rows.values():
            rows += [(self.now + i, *each) for i, each in enumerate(what)]
        self.now += len(what)

    @rule(seed=st.integers(0, 2**32 - 1), share=st.floats(0.3, 1.0))
    def keep(self, seed: int, share: float) -> None:
        rng, counts = np.random.default_rng(seed), self.cache.counts
        mask = np.zeros((2, 2, int(counts.max())), np.bool_)
        for at, rows in self.rows.items():
            kept = np.sort(rng.choice(len(rows), int(share * len(rows)), replace=False))
            mask[at][kept] = True
            self.rows[at] = [rows[i] for i in kept]
        self.cache.keep(Rows.from_mask(mask))
        self.controller.kept(Rows.from_mask(mask))

    @rule(n=st.integers(0, 40))
    def take_back(self, n: int) -> None:
        """A question, or a turn, is forgotten: never more than came since positions moved."""
        position = max(self.cache.next_position - n, self.since)
        gone = self.cache.next_position - position
        self.cache.truncate(position)
        self.controller.truncate(position, self.cache.counts)
        self.now -= gone
        for at, rows in self.rows.items():
            self.rows[at] = [row for row in rows if row[0] < self.now]

    @rule(placement=st.sampled_from(["order", "log"]), recent=st.integers(0, 60))
    def squeeze(self, placement: str, recent: int) -> None:
        positions = self.cache.positions()
        moved, following = place(
            placement,
            self.controller.times(positions),
            now=self.controller.now,
            n_sinks=SINKS,
            recent_tokens=recent,
            limit=100 + SINKS,
        )
        self.cache.move(moved[moved >= 0], following)
        self.controller.moved(positions, following)
        self.since, self.squeezed = following, True

    @rule(delta=st.integers(1, 20))
    def drop(self, delta: int) -> None:
        """The oldest behind the sinks go, as long as nothing was squeezed."""
        if self.squeezed:
            return
        positions = self.cache.positions()
        if self.cache.next_position < SINKS + delta:
            return
        stays = (positions >= 0) & ((positions < SINKS) | (positions >= SINKS + delta))
        self.cache.keep(Rows.from_mask(stays))
        self.controller.kept(Rows.from_mask(stays))
        for at in self.rows:
            held = stays[at][: len(self.rows[at])]
            self.rows[at] = [row for row, there in zip(self.rows[at], held, strict=True) if there]
        left = self.cache.positions()
        left = np.where(left >= SINKS + delta, left - delta, left)
        self.cache.move(left[left >= 0], self.cache.next_position - delta)
        self.controller.shift(-delta, from_position=SINKS + delta)
        self.since = self.cache.next_position

    @rule()
    def clear(self) -> None:
        self.cache.truncate(0)
        self.controller.reset()
        self.rows = {at: [] for at in self.rows}
        self.now = 0
        self.since, self.squeezed = 0, False

    @invariant()
    def every_row_is_known(self) -> None:
        counts = self.cache.counts
        view = self.controller.view(self.cache, counts)
        times = self.controller.times(self.cache.positions())
        for at, rows in self.rows.items():
            n = len(rows)
            assert counts[at] == n
            assert times[at][:n].tolist() == [time for time, _, _ in rows]
            assert (times[at][n:] == -1).all() and (view.positions[at][n:] == -1).all()
            places = view.positions[at][:n]
            assert (np.diff(places) > 0).all()
            assert view.times_of is not None
            assert view.times_of[places].tolist() == [time for time, _, _ in rows]
            kinds = [Kind.SINK if time < SINKS else kind for time, kind, _ in rows]
            assert view.kinds[at][:n].tolist() == kinds
            np.testing.assert_allclose(view.novelty[at][:n], [new for _, _, new in rows], atol=1e-3)
        # A place is one time, whichever head holds it.
        found = {p: t for p, t in zip(view.positions.ravel(), times.ravel(), strict=True) if p >= 0}
        assert len(found) == len(set(found.values()))


def test_any_sequence_of_calls() -> None:
    run_state_machine_as_test(
        Memory, settings=settings(max_examples=40, stateful_step_count=30, deadline=None)
    )


def test_tables_hold_only_what_some_head_holds() -> None:
    """Hours pass: what is known of places stays as small as the rows."""
    cache, ours = NumpyCache(SHAPE, CAPACITY), controller()
    rng = np.random.default_rng(3)
    for _ in range(200):
        cache.append(20)
        ours.appended(Kind.AUDIO, 20)
        mask = np.zeros((2, 2, int(cache.counts.max())), np.bool_)
        for at in np.ndindex(2, 2):
            mask[at][np.sort(rng.choice(cache.counts[at], min(cache.counts[at], 60), False))] = True
        cache.keep(Rows.from_mask(mask))
        ours.kept(Rows.from_mask(mask))
        positions = cache.positions()
        moved, following = place(
            "order", ours.times(positions), now=ours.now, n_sinks=SINKS, recent_tokens=40, limit=200
        )
        cache.move(moved[moved >= 0], following)
        ours.moved(positions, following)
    assert ours.now == 4000
    assert ours.kind_of.size <= 4 * 60 + SINKS
    plain = controller()
    assert ours.nbytes <= plain.nbytes + 4 * 4 * 60 + 8 * 2 * 4 * 60


def test_squeezed_positions_cannot_be_shifted() -> None:
    cache, ours = NumpyCache(SHAPE, CAPACITY), controller()
    cache.append(50)
    ours.appended(Kind.AUDIO, 50)
    positions = cache.positions()
    moved, following = place("order", positions, now=50, n_sinks=SINKS, recent_tokens=10, limit=80)
    cache.move(moved[moved >= 0], following)
    ours.moved(positions, following)
    with pytest.raises(PolicyError, match="cannot move by -5"):
        ours.shift(-5, from_position=20)
