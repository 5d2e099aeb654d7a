"""A head-wise cache beside a model of it in plain numpy: every call, refusals too, on both.

The model knows no attention; it knows which rows a head holds, at which positions, with which
values, and which calls must be refused. What the cache says after each call is compared with it,
row by row.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_audiokv.errors import CacheFullError, NativeError
from edge_audiokv.kv.shape import Rows
from edge_audiokv.native.context import HeadwiseContext

from .tiny import N_CONTEXT, N_VOCAB

HUGE = (2**31, 2**32, 2**32 + 3, 2**63, -(2**31) - 1, -(2**40))
MAX_POSITION = (2**31 - 1) // 2
Floats = NDArray[np.float32]


@dataclass
class Head:
    """Rows of one head: positions ascending, values [T, D]."""

    positions: list[int] = field(default_factory=list)
    values: Floats = field(default_factory=lambda: np.zeros((0, 0), np.float32))


class Walk:
    """A cache, its model, and the calls that change both. Each call returns whether it was done."""

    def __init__(self, context: HeadwiseContext) -> None:
        self.context = context
        self.capacity, self.level = context.capacity, context.level
        self.shape = self.capacity.shape
        self.heads = {at: Head() for at in np.ndindex(*self.shape)}
        self.next = 0
        # Finite numbers may still be too large to compute with: attention sums in f16, as stock's.
        self.wild = False
        self.saved: tuple[bytes, dict[Any, Head], int, bool] | None = None

    # --- calls ------------------------------------------------------------------------------------

    def decode(self, ids: list[int], *, score: bool = False) -> bool:
        room = min(int(self.capacity[at]) - len(head.positions) for at, head in self.heads.items())
        fits = 0 < len(ids) <= room and all(0 <= token < N_VOCAB for token in ids)
        if not self._call(lambda: self.context.decode_tokens(ids, logits=False, score=score), fits):
            return False
        added = list(range(self.next, self.next + len(ids)))
        for (layer, index), head in self.heads.items():
            values = self.context.read_values(layer, index)
            head.values = np.concatenate(
                [head.values.reshape(-1, values.shape[1]), values[-len(ids) :]]
            )
            head.positions += added
        self.next += len(ids)
        if score and not self.wild:
            sums = self.context.scores().sum(axis=2)
            np.testing.assert_allclose(sums, 1.0, atol=1e-3)
        return self._same()

    def keep(self, lists: dict[Any, list[int]]) -> bool:
        sizes: dict[int, set[int]] = {}
        fits = True
        for at, rows in lists.items():
            held = len(self.heads[at].positions)
            fits &= all(0 <= row < held for row in rows) and rows == sorted(set(rows))
            sizes.setdefault(int(self.level[at]), set()).add(len(rows))
        fits &= all(len(found) == 1 for found in sizes.values())
        count = np.array([len(lists[at]) for at in np.ndindex(*self.shape)]).reshape(self.shape)
        index = np.array([row for at in np.ndindex(*self.shape) for row in lists[at]])
        if not self._call(lambda: self.context.keep(Rows(index, count)), fits):
            return False
        for at, rows in lists.items():
            head = self.heads[at]
            head.positions = [head.positions[row] for row in rows]
            head.values = head.values[rows]
        return self._same()

    def truncate(self, position: int) -> bool:
        left = {at: sum(p < position for p in head.positions) for at, head in self.heads.items()}
        fits = 0 <= position < 2**31 and self._lockstep(left)
        if not self._call(lambda: self.context.truncate(position), fits):
            return False
        for at, head in self.heads.items():
            head.positions, head.values = head.positions[: left[at]], head.values[: left[at]]
        self.next = min(self.next, position)
        return self._same()

    def shift(self, delta: int, start: int | None) -> bool:
        first = -(2**31) if start is None else start
        fits = all(-(2**31) <= number < 2**31 for number in (delta, first))
        moved_next = self.next + delta
        fits = fits and (delta == 0 or (first <= self.next - 1 and moved_next >= 0))
        fits = fits and (delta == 0 or moved_next - 1 <= MAX_POSITION)
        for head in self.heads.values():
            stay = [p for p in head.positions if p < first]
            move = [p + delta for p in head.positions if p >= first]
            if delta and fits:
                fits = all(p >= 0 for p in move)
                after = [*move, moved_next]
                fits = fits and (not stay or stay[-1] < after[0])
        if not self._call(lambda: self.context.shift(delta, from_position=start), fits):
            return False
        for head in self.heads.values():
            head.positions = [p + delta if p >= first else p for p in head.positions]
        self.next += delta
        return self._same()

    def move(self, targets: dict[Any, list[int]], following: int) -> bool:
        """`targets`: a new position for each row of each head."""
        given = [p for at in np.ndindex(*self.shape) for p in targets[at]]
        fits = all(-(2**31) <= number < 2**31 for number in (*given, following))
        fits = fits and 0 <= following <= max(self.next, N_CONTEXT)
        fits = fits and len(given) == sum(len(head.positions) for head in self.heads.values())
        start = 0
        split: dict[Any, list[int]] = {}
        # The call takes one list: how it is cut follows from what the heads hold.
        for at, head in self.heads.items():
            split[at] = given[start : start + len(head.positions)]
            start += len(head.positions)
            fits = fits and split[at] == sorted(set(split[at]))
            fits = fits and all(0 <= p < following for p in split[at])
        if not self._call(lambda: self.context.move(np.array(given), following), fits):
            return False
        for at, head in self.heads.items():
            head.positions = split[at]
        self.next = following
        return self._same()

    def append(self, other: Walk) -> bool:
        sizes = {
            at: len(self.heads[at].positions) + len(other.heads[at].positions) for at in self.heads
        }
        fits = other is not self and self._lockstep(sizes)
        fits = fits and all(size <= self.capacity[at] for at, size in sizes.items())
        fits = fits and all(
            head.positions[0] >= self.next for head in other.heads.values() if head.positions
        )
        if not self._call(lambda: self.context.append_rows(other.context), fits):
            return False
        for at, head in self.heads.items():
            theirs = other.heads[at]
            head.positions = head.positions + theirs.positions
            if theirs.positions:
                width = theirs.values.shape[1]
                head.values = np.concatenate([head.values.reshape(-1, width), theirs.values])
        self.next = max(self.next, other.next)
        self.wild |= other.wild
        return self._same() and other._same()

    def write(self, at: Any, rows: list[int], value: float) -> bool:
        head = self.heads[at]
        with np.errstate(over="ignore"):
            stored = np.float32(np.float16(value))
        fits = not rows or bool(np.isfinite(stored))
        fits = fits and all(0 <= row < len(head.positions) for row in rows)
        data = np.full((len(rows), self.context.shape.head_dim), value, np.float32)
        written = np.array(rows)
        if not self._call(lambda: self.context.write_values(*at, written, data), fits):
            return False
        if rows:
            head.values[rows] = stored
            self.wild |= abs(value) > 100
        return self._same()

    def save(self) -> bool:
        copy = {at: Head(list(h.positions), h.values.copy()) for at, h in self.heads.items()}
        try:
            state = self.context.save_state()
        except NativeError:
            # Values that are out of all measure make keys that no state may hold.
            assert self.wild, "a state of sound rows is refused"
            return not self._same()
        self.saved = (state, copy, self.next, self.wild)
        return True

    def load(self, change: Callable[[bytearray], bytes | bytearray] = lambda state: state) -> bool:
        """Load what was saved, after `change`: what is changed is refused, or means the same."""
        if self.saved is None:
            return False
        state, heads, following, wild = self.saved
        changed = bytes(change(bytearray(state)))
        if changed != state:
            try:
                self.context.load_state(changed)
            except NativeError:
                return not self._same()
            # Bytes of keys and values may be any; places may not, and the cache stays usable.
            self.wild = True
            self._adopt()
            return True
        if not self._call(lambda: self.context.load_state(changed), True):
            return False
        self.heads = {at: Head(list(h.positions), h.values.copy()) for at, h in heads.items()}
        self.next, self.wild = following, wild
        return self._same()

    def clear(self) -> bool:
        self.context.clear()
        self.heads = {at: Head() for at in self.heads}
        self.next, self.wild = 0, False
        return self._same()

    # --- both sides -------------------------------------------------------------------------------

    def _lockstep(self, sizes: dict[Any, int]) -> bool:
        found: dict[int, set[int]] = {}
        for at, size in sizes.items():
            found.setdefault(int(self.level[at]), set()).add(size)
        return all(len(each) == 1 for each in found.values())

    def _call(self, call: Callable[[], object], fits: bool) -> bool:
        """Do it; it must be refused exactly if it does not fit, and a refusal changes nothing."""
        try:
            call()
        except (NativeError, CacheFullError) as error:
            assert not fits, f"refused although it fits: {error}"
            assert "\n" not in str(error)
            return not self._same()
        assert fits, "done although it does not fit"
        return True

    def _same(self) -> bool:
        counts, positions = self.context.counts, self.context.positions()
        assert self.context.next_position == self.next
        for at, head in self.heads.items():
            n = len(head.positions)
            assert counts[at] == n
            assert positions[at][:n].tolist() == head.positions
            assert (positions[at][n:] == -1).all()
            if n:
                np.testing.assert_array_equal(self.context.read_values(*at), head.values)
                assert self.wild or np.isfinite(self.context.read_keys(*at)).all()
        room = min(int(self.capacity[at]) - len(head.positions) for at, head in self.heads.items())
        assert self.context.free_rows == room
        return True

    def _adopt(self) -> None:
        """Take the cache's word for its rows, where they obey its own rules."""
        counts, positions = self.context.counts, self.context.positions()
        self.next = self.context.next_position
        assert 0 <= self.next <= MAX_POSITION + 1
        for at, head in self.heads.items():
            head.positions = positions[at][: counts[at]].tolist()
            assert head.positions == sorted(set(head.positions))
            assert all(0 <= p < self.next for p in head.positions)
            head.values = self.context.read_values(*at)
        assert self._lockstep({at: len(head.positions) for at, head in self.heads.items()})


def any_number(draw: random.Random, most: int) -> int:
    """A likely number, or a hostile one."""
    if draw.random() < 0.1:
        return draw.choice((*HUGE, -1, -5, 2**31 - 1, -(2**31)))
    return draw.randint(-3, most + 3)


def keep_lists(draw: random.Random, walk: Walk) -> dict[Any, list[int]]:
    """Rows to keep: mostly as the rules are, now and then against one of them."""
    sizes: dict[int, int] = {}
    lists = {}
    for at, head in walk.heads.items():
        held = len(head.positions)
        size = sizes.setdefault(int(walk.level[at]), draw.randint(0, held))
        lists[at] = sorted(draw.sample(range(held), min(size, held)))
    if draw.random() < 0.25:
        rows = lists[draw.choice(list(lists))]
        match draw.randrange(4):
            case 0:
                rows.append(any_number(draw, 40))
            case 1:
                rows.reverse()
            case 2:
                del rows[:1]
            case _:
                rows[:1] = [draw.choice(HUGE)]
    return lists


def targets_of(draw: random.Random, walk: Walk) -> tuple[dict[Any, list[int]], int]:
    """New positions of all rows and of the next token: mostly as the rules are."""
    most = max([0, *(len(head.positions) for head in walk.heads.values())])
    following = draw.randint(most, max(most, walk.next, N_CONTEXT))
    targets = {
        at: sorted(draw.sample(range(following), len(head.positions)))
        for at, head in walk.heads.items()
    }
    if draw.random() < 0.3:
        rows = targets[draw.choice(list(targets))]
        match draw.randrange(6):
            case 0:
                following = any_number(draw, max(walk.next, N_CONTEXT))
            case 1:
                rows.append(any_number(draw, following))
            case 2:
                del rows[:1]
            case 3:
                rows.reverse()
            case 4:
                rows[-1:] = rows[:1]
            case _:
                rows[:1] = [draw.choice((*HUGE, -1, following))]
    return targets, following


def change_of(draw: random.Random) -> Callable[[bytearray], bytes | bytearray]:
    """Damage for a state: a bit, a number of its head, its length; or none."""

    def change(state: bytearray) -> bytes | bytearray:
        match draw.randrange(5):
            case 0:
                state[draw.randrange(len(state))] ^= 1 << draw.randrange(8)
            case 1:
                at = 4 * draw.randrange(min(len(state) // 4, 40))
                number = draw.choice((0, 1, 2**31 - 1, 2**32 - 1, draw.getrandbits(32)))
                state[at : at + 4] = number.to_bytes(4, "little")
            case 2:
                return state[: draw.randrange(len(state))]
            case 3:
                return state + b"more"
        return state

    return change


def step(draw: random.Random, walk: Walk, other: Walk) -> None:
    """One random call."""
    at = draw.choice(list(walk.heads))
    held = len(walk.heads[at].positions)
    match draw.randrange(13):
        case 12:
            walk.move(*targets_of(draw, walk))
        case 0 | 1 | 2:
            ids = [draw.randrange(N_VOCAB) for _ in range(draw.choice((1, 2, 5, 17, 40)))]
            if draw.random() < 0.1:
                ids[0] = draw.choice((-1, N_VOCAB, *HUGE))
            walk.decode(ids, score=draw.random() < 0.3)
        case 3 | 4:
            walk.keep(keep_lists(draw, walk))
        case 5:
            walk.truncate(any_number(draw, walk.next))
        case 6:
            start = None if draw.random() < 0.5 else any_number(draw, walk.next)
            walk.shift(any_number(draw, 30) - draw.choice((0, 20)), start)
        case 7:
            if draw.random() < 0.7:
                other.shift(max(0, walk.next - other.next) + walk.next, None)
            walk.append(draw.choice((other, other, walk)))
        case 8:
            rows = [any_number(draw, held) for _ in range(draw.randrange(3))]
            if draw.random() < 0.7 and held:
                rows = [draw.randrange(held)]
            value = draw.choice((0.0, 1.5, -300.0, 65504.0, 1e9, -1e9, 1e38, float("nan")))
            walk.write(at, rows, value)
        case 9:
            walk.save()
        case 10:
            walk.load(change_of(draw))
        case _:
            if draw.random() < 0.3:
                walk.clear()
