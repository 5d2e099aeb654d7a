"""The planner never exceeds the cap, and says what would work."""

from __future__ import annotations

import mmap
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_audiokv.errors import MemoryBudgetError
from edge_audiokv.kv.memory import (
    DeviceShare,
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


def card(cap_bytes: int, *, takes_cache: bool = True) -> DeviceShare:
    return DeviceShare("CUDA0", cap_bytes, {"weights": 10**9, "compute": 10**8}, takes_cache)


def test_a_cache_on_a_device_is_given_from_its_cap() -> None:
    room = {"kv_min_bytes": 10**6, "kv_max_bytes": 10**9}
    plan = plan_memory(300_000_000, PARTS, **room, device=card(2 * 10**9))
    alone = plan_memory(300_000_000, PARTS, **room)
    assert plan.kv_bytes == 2 * 10**9 - plan.device.fixed_bytes > alone.kv_bytes
    assert plan.device_bytes == 2 * 10**9
    assert plan.total_bytes == 300_000_000 - alone.kv_bytes
    names = [line.split("  ")[0] for line in plan.lines()]
    assert names[-5:] == ["cap", "weights", "compute", "KV cache", "CUDA0 cap"]
    # Some layers there, and the cache here.
    some = plan_memory(300_000_000, PARTS, **room, device=card(2 * 10**9, takes_cache=False))
    assert (some.kv_bytes, some.total_bytes) == (alone.kv_bytes, alone.total_bytes)
    assert some.device_bytes == some.device.fixed_bytes


def test_the_tables_of_rows_on_a_device_lie_here() -> None:
    """The machine's memory bounds a cache that is elsewhere, too."""
    plan = plan_memory(
        300_000_000,
        PARTS,
        kv_min_bytes=10**6,
        kv_max_bytes=10**12,
        table_share=0.25,
        device=card(10**12),
    )
    assert plan.tables_bytes <= 300_000_000 - sum(PARTS.values()) - plan.slack_bytes
    assert plan.total_bytes == pytest.approx(300_000_000, abs=4)
    assert plan.kv_bytes == pytest.approx(4 * plan.tables_bytes, rel=1e-6)


@pytest.mark.parametrize(("mem", "gpu_mem"), [(200, 2500), (2500, 900), (200, 900)])
def test_a_refusal_tells_both_sums(mem: int, gpu_mem: int) -> None:
    share = card(gpu_mem * 10**6)
    room = {"kv_min_bytes": 10**8, "kv_max_bytes": 10**9, "table_share": 0.1}
    with pytest.raises(MemoryBudgetError) as caught:
        plan_memory(mem * 10**6, PARTS, **room, device=share)
    error = caught.value
    assert f'mem="{mem}MB' in error.what and "row tables at least 9.5 MiB" in error.what
    assert f'gpu_mem="{gpu_mem}MB' in error.what and "of CUDA0 must hold" in error.what
    assert "weights 953.7 MiB + compute 95.4 MiB" in error.what
    assert "KV cache at least 95.4 MiB" in error.what
    named = [int(n) for n in re.findall(r'mem="(\d+)MB"', error.cure)]
    assert error.required_bytes == named[0] * 10**6
    plan = plan_memory(named[0] * 10**6, PARTS, **room, device=card(named[1] * 10**6))
    assert plan.kv_bytes >= 10**8
