from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_audiokv.errors import PolicyError
from edge_audiokv.kv.select import FREE, HARD, RECENT, SOFT, select


def run(scores, tiers, count, target):
    scores = np.asarray(scores, np.float32)[None, None]
    tiers = np.asarray(tiers, np.int8)[None, None]
    counts, targets = np.array([[count]], np.int32), np.array([[target]], np.int32)
    return list(select(scores, tiers, counts, targets).of(0, 0))


def test_tiers_come_before_scores_and_yield_from_below():
    scores = [9.0, 1.0, 8.0, 2.0, 7.0]
    tiers = [FREE, HARD, FREE, RECENT, SOFT]
    assert run(scores, tiers, 5, 1) == [1]
    assert run(scores, tiers, 5, 2) == [1, 3]
    assert run(scores, tiers, 5, 3) == [1, 3, 4]
    assert run(scores, tiers, 5, 4) == [0, 1, 3, 4]


def test_equal_rows_the_newer_stays():
    assert run([1.0] * 6, [FREE] * 6, 6, 2) == [4, 5]


def test_infinities_and_nan_have_their_place():
    scores = [np.inf, np.nan, 1.0, -np.inf, 2.0, np.nan]
    assert run(scores, [FREE] * 6, 6, 1) == [0]
    assert run(scores, [FREE] * 6, 6, 3) == [0, 2, 4]
    assert run(scores, [FREE] * 6, 6, 4) == [0, 2, 4, 5]


def test_tiny_differences_of_tiny_scores_still_count():
    assert run([1e-9, 2e-9, 1.5e-9], [FREE, SOFT, SOFT], 3, 1) == [1]


def test_padding_is_never_kept():
    assert run([0.1, 0.2, 99.0], [FREE] * 3, 2, 5) == [0, 1]


def test_protected_rows_beyond_the_budget_are_one_error_with_the_smallest_that_works():
    with pytest.raises(PolicyError) as error:
        run([0.0] * 5, [HARD] * 4 + [FREE], 5, 3)
    assert "must keep 4 protected rows" in str(error.value)
    assert "at least 4 rows" in str(error.value)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(0, 45), st.integers(0, 2**31))
def test_keeps_what_a_plain_sort_keeps(count, target, seed):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 6, count).astype(np.float32)
    tiers = rng.integers(0, 3, count).astype(np.int8)
    ordered = sorted(range(count), key=lambda i: (tiers[i], scores[i], i), reverse=True)
    assert run(scores, tiers, count, target) == sorted(ordered[:target])
