"""Lists of the command line, and the count of steps."""

from __future__ import annotations

import time

import pytest

from edge_audiokv.eval.bench.plan import Plan, read_contexts, read_rows, read_shares, seconds


def test_lists_are_read() -> None:
    assert read_contexts("512, 64,512") == (512, 64)
    assert read_shares("40%,1,0.6") == (1.0, 0.6, 0.4)
    assert read_rows("f16,Q8_0/q4_0") == (("f16", "f16"), ("q8_0", "q4_0"))


@pytest.mark.parametrize("text", ["", ",", "63", "x", "-512", "2000000", "\u0665\u0661\u0662"])
def test_lengths_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        read_contexts(text)


@pytest.mark.parametrize("text", ["q5_0", "f16/f32", ""])
def test_other_types_of_rows_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        read_rows(text)


def test_steps_are_counted() -> None:
    plan = Plan(contexts=(144, 272), shares=(1.0, 0.4), repetitions=3)
    # Sound of 128 and 256 tokens: 1 and 2 batches, and the question; then both shares, one of them
    # cut; then a process for each share.
    assert plan.n_steps(stock=False) == 3 * (2 + 3) + 3 * 2 * (2 + 1) + 2 * 2
    assert plan.n_steps(stock=True) == plan.n_steps(stock=False) + 2


def test_cpu_time_does_not_count_waiting() -> None:
    def wait() -> None:
        time.sleep(0.05)

    assert seconds(wait, Plan().now) >= 0.05
    assert seconds(wait, Plan(cpu_time=True).now) < 0.04
