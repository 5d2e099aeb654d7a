"""Medians, their intervals and ratios, against scipy's binomial and numpy's median."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from edge_audiokv.eval.bench.statistics import COVERAGE, MOST_SPREAD, middle, ratios


@pytest.mark.parametrize("n", [1, 2, 5, 6, 8, 9, 15, 16, 25, 101])
def test_the_interval_is_the_shortest_that_holds_the_median_surely_enough(n: int) -> None:
    values = np.random.default_rng(n).permutation(n).astype(float)
    found = middle(list(values + 1))
    assert found.value == np.median(values) + 1
    at = round(found.low) - 1
    assert found.high == n - at

    def coverage(k: int) -> float:
        return float(1 - 2 * binom.cdf(k, n, 0.5))

    if at:
        assert coverage(at) >= COVERAGE
    assert coverage(at + 1) < COVERAGE or 2 * (at + 1) > n - 1
    # Six values are the fewest of which the outermost suffice.
    assert (coverage(0) >= COVERAGE) == (n >= 6)


def test_intervals_hold_the_median_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    draws = [middle(list(rng.exponential(size=9))) for _ in range(2000)]
    held = np.mean([draw.low <= np.log(2) <= draw.high for draw in draws])
    assert held >= COVERAGE - 0.01


def test_what_slows_both_of_a_pair_is_no_difference() -> None:
    busy = [1.0, 3.0, 1.5, 2.0, 1.0]
    ours, stock = [2 * b for b in busy], [3 * b for b in busy]
    found = ratios(stock, ours)
    assert (found.value, found.low, found.high) == pytest.approx((1.5, 1.5, 1.5))
    assert middle(ours).disagrees and not found.disagrees


def test_disagreement_is_the_range_over_the_median() -> None:
    assert middle([10.0, 11.0, 12.0]).spread == pytest.approx(2 / 11)
    assert not middle([10.0, 10.0 * (1 + 0.9 * MOST_SPREAD)]).disagrees
    assert middle([10.0, 10.0, 10.0 * (1 + 1.1 * MOST_SPREAD)]).disagrees


def test_pairs_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError):
        ratios([1.0], [1.0, 2.0])
