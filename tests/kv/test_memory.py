"""The planner never exceeds the cap, and says what would work."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_audiokv.errors import MemoryBudgetError
from edge_audiokv.kv.memory import (
    Ledger,
    anonymous_rss_bytes,
    peak_rss_bytes,
    plan_memory,
    rss_bytes,
)

PARTS = {"interpreter": 120_000_000, "weights": 98_000_000, "encoder": 60_000_000}


def test_the_cache_gets_the_rest_up_to_what_it_can_use() -> None:
    plan = plan_memory(10**9, PARTS, kv_min_bytes=10**6, kv_max_bytes=10**8)
    assert plan.kv_bytes == 10**8
    tight = plan_memory(300_000_000, PARTS, kv_min_bytes=10**6, kv_max_bytes=10**8)
    assert tight.total_bytes == 300_000_000


def test_refusal_names_every_part_and_a_cap_that_works() -> None:
    with pytest.raises(MemoryBudgetError) as caught:
        plan_memory(200_000_000, PARTS, kv_min_bytes=10**6, kv_max_bytes=10**8)
    assert all(name in str(caught.value) for name in PARTS)
    assert caught.value.required_bytes is not None
    plan_memory(caught.value.required_bytes, PARTS, kv_min_bytes=10**6, kv_max_bytes=10**8)


@given(
    st.integers(1, 10**10),
    st.dictionaries(st.text(min_size=1, max_size=5), st.integers(0, 10**9), max_size=5),
    st.integers(0, 10**8),
    st.integers(10**8, 10**10),
)
def test_never_above_the_cap(
    cap_bytes: int, parts: dict[str, int], kv_min_bytes: int, kv_max_bytes: int
) -> None:
    try:
        plan = plan_memory(cap_bytes, parts, kv_min_bytes=kv_min_bytes, kv_max_bytes=kv_max_bytes)
    except MemoryBudgetError as error:
        assert error.required_bytes is not None
        assert error.required_bytes > cap_bytes
    else:
        assert plan.total_bytes <= cap_bytes
        assert kv_min_bytes <= plan.kv_bytes <= kv_max_bytes


def test_ledger_asks_every_part_again() -> None:
    ledger = Ledger(10)
    sizes = [1, 2]
    ledger.add("ring", lambda: sum(sizes))
    assert ledger.own_parts() == {"ring": 3}
    sizes.append(4)
    assert ledger.own_parts() == {"ring": 7}
    assert ledger.parts() == {**ledger.own_parts(), **ledger.holding.others()}


def test_the_kernel_sees_an_allocation() -> None:
    before_bytes = rss_bytes()
    block = bytearray(b"x" * 50_000_000)
    assert rss_bytes() - before_bytes > 40_000_000
    assert peak_rss_bytes() >= rss_bytes() - 1_000_000
    del block


@pytest.mark.skipif(sys.platform != "linux", reason="other kernels do not tell them apart")
def test_memory_of_ones_own_and_mapped_files_are_told_apart(tmp_path: Path) -> None:
    before_bytes = anonymous_rss_bytes()
    block = bytearray(b"x" * 50_000_000)
    own_bytes = anonymous_rss_bytes() - before_bytes
    assert own_bytes == pytest.approx(len(block), rel=0.05)
    path = tmp_path / "weights"
    path.write_bytes(block)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        total_bytes, before_bytes = rss_bytes(), anonymous_rss_bytes()
        assert sum(mapped[:: mmap.PAGESIZE]) > 0
        assert rss_bytes() - total_bytes > 40_000_000
        assert anonymous_rss_bytes() - before_bytes < 5_000_000
