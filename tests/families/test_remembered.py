"""Rows dropped, moved, joined and saved say what transformers' own rows say, so treated.

With each family's own angles: plain ones, of three streams, stretched as Llama 3's, and of a part
of a head as Phi-4's.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from edge_audiokv.kv.shape import Rows
from edge_audiokv.native.context import HeadwiseContext
from edge_audiokv.native.model import Model

from . import tiny
from .conftest import Case
from .remembered import Places, Remembered
from .test_parity import OURS_CLOSE, Theirs, prompt_ids

pytestmark = pytest.mark.integration

FORCED = [7, 260, 31, 99]
TURN = [40, 271, 55, 12, 300, 61, 17, 90, 33, 290, 45, 8]
# What a call changes must be far more than what f16 rows do.
FAR = 5 * OURS_CLOSE


def probe(ours: HeadwiseContext, theirs: Remembered) -> tuple[tiny.Array, tiny.Array]:
    """Logits [n, V] of both after a few tokens, which are taken back."""
    found, expected, start = [], [], ours.next_position
    assert start == theirs.next
    theirs = theirs.copy()
    for token in FORCED:
        logits = ours.decode_tokens([token])
        assert logits is not None
        found.append(logits)
        expected.append(theirs.read([token]))
    ours.truncate(start)
    return np.array(found), np.array(expected)


def chosen(rng: np.random.Generator, shape: tuple[int, ...], n: int, below: int) -> Places:
    """`n` numbers for each head, ascending."""
    heads = [np.sort(rng.choice(below, n, replace=False)) for _ in range(shape[0] * shape[1])]
    return np.array(heads).reshape(*shape[:2], n)


@pytest.fixture
def caches(case: Case) -> Iterator[tuple[HeadwiseContext, HeadwiseContext, Remembered]]:
    """A prompt with a sound, read by both; and an empty cache of ours."""
    before, after = prompt_ids(case, Theirs(case))
    rows = case.tiny.rows(tiny.sound(1.92, seed=9)).numpy()
    theirs = Remembered(case.tiny)
    capacity = len(before) + len(rows) + len(after) + 64
    with (
        Model(case.llm) as model,
        HeadwiseContext(model, capacity, n_threads=1) as ours,
        HeadwiseContext(model, capacity, n_threads=1) as other,
    ):
        ours.decode_tokens(before, logits=False)
        ours.decode_embeddings(rows)
        ours.decode_tokens(after, logits=False)
        for part in (before, rows, after):
            theirs.read(part)
        yield ours, other, theirs


def test_rows_say_what_those_of_transformers_say(
    caches: tuple[HeadwiseContext, HeadwiseContext, Remembered],
) -> None:
    ours, other, theirs = caches
    rng, heads = np.random.default_rng(3), ours.counts.shape
    _, before = probe(ours, theirs)
    spread, n_rows = before.std(), theirs.next

    def compare(call: str, *, changes: bool) -> None:
        nonlocal before
        found, expected = probe(ours, theirs)
        positions = ours.positions()
        np.testing.assert_array_equal(positions[positions >= 0], theirs.positions.ravel(), call)
        assert np.abs(found - expected).max() < OURS_CLOSE * spread, call
        # Moving all rows alike changes nothing, and all else far more than rounding does.
        changed = np.abs(expected - before).max()
        assert changed > FAR * spread if changes else changed < 1e-3 * spread, call
        before = expected

    compare("read", changes=False)
    n_kept = int(0.4 * n_rows)
    kept = chosen(rng, heads, n_kept, n_rows)
    ours.keep(Rows(kept.ravel().astype(np.int32), np.full(heads, n_kept, np.int32)))
    theirs.keep(kept)
    compare("keep", changes=True)

    ours.shift(50)
    theirs.move(theirs.positions + 50, theirs.next + 50)
    compare("shift", changes=False)

    closer = chosen(rng, heads, n_kept, n_kept + 20)
    ours.move(closer.ravel(), n_kept + 20)
    theirs.move(closer, n_kept + 20)
    compare("squeeze", changes=True)

    other.decode_tokens(TURN, logits=False)
    other.shift(ours.next_position)
    ours.append_rows(other)
    turn = Remembered(theirs.tiny)
    turn.read(TURN)
    turn.move(turn.positions + theirs.next, turn.next + theirs.next)
    theirs.append(turn)
    compare("append", changes=True)

    other.load_state(ours.save_state())
    np.testing.assert_array_equal(probe(other, theirs)[0], probe(ours, theirs)[0], "state")
