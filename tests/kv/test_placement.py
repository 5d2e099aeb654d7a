"""Where rows go when positions run out: in order, behind the sinks, recent distances true."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_audiokv.errors import InputError
from edge_audiokv.kv.placement import place
from edge_audiokv.kv.placements import check_placement

SINKS = 4


def rows(*heads):
    """Times [1, H, T] of heads, -1 in the padding."""
    out = np.full((1, len(heads), max(map(len, heads))), -1, np.int32)
    for h, times in enumerate(heads):
        out[0, h, : len(times)] = times
    return out


@st.composite
def histories(draw):
    """Times of some heads, how long ago they began, what is to be free, and what is recent."""
    now = draw(st.integers(10, 5000))
    limit = draw(st.integers(8, 300))
    most = limit - SINKS
    heads = []
    for _ in range(draw(st.integers(1, 3))):
        later = draw(st.sets(st.integers(SINKS, now - 1), max_size=min(most, 60, now - SINKS)))
        first = draw(st.sets(st.integers(0, SINKS - 1)))
        heads.append(sorted(first) + sorted(later))
    return heads, now, limit, draw(st.integers(0, 400))


@pytest.mark.parametrize("placement", ["order", "log"])
@settings(max_examples=300, deadline=None)
@given(histories())
def test_any_history(placement, history):
    heads, now, limit, recent = history
    out, following = place(
        placement, rows(*heads), now=now, n_sinks=SINKS, recent_tokens=recent, limit=limit
    )
    assert following <= limit
    for head, found in zip(heads, out[0], strict=True):
        held, padding = found[: len(head)].tolist(), found[len(head) :]
        assert (padding == -1).all()
        assert held == sorted(set(held))
        assert all(0 <= p < following for p in held)
        for time, position in zip(head, held, strict=True):
            assert (position == time) if time < SINKS else (position >= SINKS)


def test_order_closes_up_behind_what_is_recent():
    out, following = place(
        "order",
        rows([0, 1, 2, 3, 50, 400, 990, 998], [1, 500, 600, 700, 991, 992, 993]),
        now=1000,
        n_sinks=SINKS,
        recent_tokens=10,
        limit=100,
    )
    # Three old rows in the fuller head, ten recent tokens, four sinks.
    assert following == 17
    assert out[0, 0].tolist() == [0, 1, 2, 3, 5, 6, 7, 15]
    assert out[0, 1, :7].tolist() == [1, 4, 5, 6, 8, 9, 10]


def test_log_keeps_what_fits_and_brings_the_rest_closer_the_older_it_is():
    times = np.arange(SINKS, 10_000, 100, dtype=np.int32)
    out, following = place(
        "log", rows(times), now=10_000, n_sinks=SINKS, recent_tokens=500, limit=2000
    )
    assert following == 2000
    distance, age = 2000 - out[0, 0], 10_000 - times
    assert (distance[age <= 500] == age[age <= 500]).all()
    # The whole of the room is used, and steps grow smaller with age.
    assert out[0, 0, 0] == SINKS
    steps = np.diff(out[0, 0])[:-5]
    assert (np.diff(steps) >= -1).all() and steps[0] < 10 < steps[-1] <= 100
    # Twice the excess is about as much further, wherever one stands far enough back.
    far = [distance[np.argmin(np.abs(age - a))] for a in (2500, 5000, 10_000)]
    assert far[2] - far[1] == pytest.approx(far[1] - far[0], rel=0.25)

    true, _ = place("log", rows(times), now=10_000, n_sinks=SINKS, recent_tokens=500, limit=20_000)
    assert (20_000 - true[0, 0] == 10_000 - times).all()


@pytest.mark.parametrize("placement", ["order", "log"])
def test_a_full_head_closes_up_even_where_it_is_recent(placement):
    full = np.r_[np.arange(SINKS), np.arange(900, 996)]
    out, following = place(
        placement, rows(full), now=1000, n_sinks=SINKS, recent_tokens=400, limit=100
    )
    assert following == 100
    assert out[0, 0].tolist() == list(range(100))


@pytest.mark.parametrize("placement", ["order", "log"])
def test_squeezing_twice_is_squeezing_once(placement):
    """Distances come from true times: what a squeeze did before does not show."""
    times = rows(sorted({0, 1, 2, 3, *range(10, 900, 7)}))
    more = {"n_sinks": SINKS, "recent_tokens": 50, "limit": 300}
    early, _ = place(placement, times, now=900, **more)
    late, following = place(placement, times, now=950, **more)
    assert (early != late).any()
    again, following_again = place(placement, times, now=950, **more)
    assert following_again == following and (late == again).all()


def test_nothing_heard_takes_nothing():
    empty = np.full((2, 2, 0), -1, np.int32)
    out, _ = place("order", empty, now=0, n_sinks=SINKS, recent_tokens=10, limit=100)
    assert out.shape == empty.shape


def test_an_unknown_placement_names_the_known_ones():
    check_placement("drop")
    with pytest.raises(InputError, match=r"no placement 'turn'.*order, log, drop"):
        check_placement("turn")
