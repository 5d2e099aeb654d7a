"""Intervals, blocks and runs of words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_audiokv.eval.quants.statistics import (
    block_kind,
    block_of,
    longest_repeat,
    percentiles,
    ratio,
)
from edge_audiokv.eval.wer import Utterance, bootstrap_interval


def clips(n: int, **fields: str) -> list[Utterance]:
    return [
        Utterance(str(i), Path(), "a", *(fields.get(k, "").format(i) for k in ("who", "what")))
        for i in range(n)
    ]


def test_of_clips_alone_it_is_the_interval_of_eval_wer() -> None:
    rng = np.random.default_rng(1)
    edits, words = rng.integers(0, 5, 30), rng.integers(5, 20, 30)
    found = ratio(edits, words, [f"{i:02}" for i in range(30)])
    low, high = bootstrap_interval(edits, words)
    assert found.value == edits.sum() / words.sum()
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.02)


def test_clips_of_a_block_are_drawn_together() -> None:
    over, under = [0, 0, 4, 4] * 6, [4] * 24
    alone = ratio(over, under, [str(i) for i in range(24)])
    together = ratio(over, under, [str(i // 12) for i in range(24)])
    mixed = ratio(over, under, [str(i // 4) for i in range(24)])
    assert together.value == alone.value == 0.5
    # Blocks that are all alike leave nothing open.
    assert (mixed.low, mixed.high) == (0.5, 0.5)
    assert alone.low is not None and alone.low < 0.5 < (alone.high or 0)


def test_a_difference_is_drawn_on_both_sides_at_once() -> None:
    base = np.array([9, 0, 9, 0, 9, 0, 9, 0])
    found = ratio(base + 1 - base, [10] * 8, [str(i) for i in range(8)])
    assert (found.value, found.low, found.high) == pytest.approx((0.1, 0.1, 0.1))
    assert found.at_most_0 == 0


def test_one_block_has_no_interval_and_nothing_is_zero() -> None:
    found = ratio([1, 2], [10, 10], ["a", "a"])
    assert found.value == 0.15 and found.low is None and found.high is None
    assert ratio([0], [0], ["a"]).value == 0


def test_the_largest_blocks_of_which_there_are_enough_are_drawn() -> None:
    assert block_kind(clips(20, who="s{}", what="r{}")) == "speaker"
    assert block_kind(clips(20, who="one", what="r{}")) == "recording"
    assert block_kind(clips(20, who="one", what="one")) == "clip"
    assert block_kind(clips(7, who="s{}", what="r{}")) == "clip"
    some = [*clips(20, who="s{}"), *clips(1)]
    assert block_kind(some) == "clip"
    (clip,) = clips(1, who="ann", what="talk")
    assert [block_of(clip, kind) for kind in ("speaker", "recording", "clip")] == [
        "ann",
        "talk",
        "0",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        ("he wrote a long letter", 0),
        ("very very good", 1),
        ("no no no no", 3),
        ("in the end in the end in the end of it", 6),
        ("in the end he was in the end of it", 0),
    ],
)
def test_repeats_are_counted_in_words(text: str, words: int) -> None:
    assert longest_repeat(text) == words


def test_percentiles_of_nothing_are_zero() -> None:
    assert percentiles([]) == {"median": 0.0, "p99": 0.0, "max": 0.0}
    assert percentiles([1.0, 2.0, 6.0])["median"] == 2.0
