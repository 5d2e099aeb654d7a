"""KL divergence against a recomputation in float64, and what is left out of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.special import log_softmax, rel_entr

from edge_audiokv.errors import InputError
from edge_audiokv.eval.quants.divergence import compare, keep, load, save

RNG = np.random.default_rng(3)


def logits(n_rows: int, n_tokens: int, spread: float = 3.0) -> np.ndarray:
    return (spread * RNG.normal(size=(n_rows, n_tokens))).astype(np.float32)


def exactly(base: np.ndarray, other: np.ndarray) -> float:
    p, q = (np.exp(log_softmax(x.astype(np.float64))) for x in (base, other))
    return float(rel_entr(p, q).sum())


def test_a_small_vocabulary_is_compared_exactly() -> None:
    base = logits(6, 50)
    other = base + logits(6, 50, 0.3)
    kept = keep([1, 2], base, rest_mass=0)
    assert len(kept.ids) == kept.starts[-1] == 6 * 50
    for place in range(6):
        apart = compare(kept, place, other[place])
        assert apart.nats == pytest.approx(exactly(base[place], other[place]), abs=1e-12)
        assert apart.left_out == 0
        assert apart.same_top == (base[place].argmax() == other[place].argmax())


@pytest.mark.parametrize("most", [1, 8, 64, 2000])
def test_of_a_large_one_what_is_left_out_is_bounded(most: int) -> None:
    base = logits(8, 4000)
    other = base + logits(8, 4000, 0.5)
    kept = keep([], base, most_kept=most)
    assert kept.ids.shape == (8 * most,) and len(kept) == 8
    for place in range(8):
        apart, whole = compare(kept, place, other[place]), exactly(base[place], other[place])
        assert 0 < apart.nats <= whole + 1e-12 <= apart.nats + apart.left_out + 1e-9


def test_the_more_is_kept_the_less_is_left_out() -> None:
    base, other = logits(2, 4000)
    left = [compare(keep([], [base], rest_mass=m), 0, other).left_out for m in (0.3, 1e-2, 1e-5, 0)]
    assert left == sorted(left, reverse=True) and left[-1] == 0


def test_no_more_is_kept_than_the_mass_asks_for() -> None:
    base = logits(4, 4000, 6.0)
    kept = keep([], base, rest_mass=1e-3)
    rest = np.exp(kept.log_rest)
    assert (rest <= 1e-3 + 1e-12).all()
    for place, row in enumerate(base):
        last = kept.ids[kept.starts[place + 1] - 1]
        assert rest[place] + np.exp(log_softmax(row.astype(np.float64)))[last] > 1e-3


@pytest.mark.parametrize("most", [4, 5000])
def test_nothing_is_exactly_no_distance_from_itself(most: int) -> None:
    base = logits(5, 3000, 8.0)
    kept = keep([7], base, most_kept=most)
    assert [compare(kept, place, base[place]).nats for place in range(5)] == [0.0] * 5
    assert all(compare(kept, place, base[place]).same_top for place in range(5))


def test_equal_logits_have_the_first_as_their_top_on_both_sides() -> None:
    row = np.zeros(10, np.float32)
    assert compare(keep([], [row], most_kept=3), 0, row).same_top


def test_what_was_saved_is_the_same(tmp_path: Path) -> None:
    kept = keep([3, 1, 2], logits(4, 2000), most_kept=16)
    save(kept, tmp_path / "a.npz")
    again = load(tmp_path / "a.npz")
    assert again.text_ids == (3, 1, 2)
    other = logits(1, 2000)[0]
    assert [compare(again, i, other) for i in range(4)] == [
        compare(kept, i, other) for i in range(4)
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_another_vocabulary_is_refused() -> None:
    with pytest.raises(InputError, match="another vocabulary"):
        compare(keep([], logits(1, 40)), 0, np.zeros(10, np.float32))
