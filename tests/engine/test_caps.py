"""The cap is kept: whole sessions in processes of their own, measured by the kernel.

What counts is the high-water mark of resident memory, from the first instruction to the last.
RLIMIT_AS and RLIMIT_DATA count address space, most of which is never touched, and Linux ignores
RLIMIT_RSS, so the limit that is enforced here is a memory cgroup where one can be made (root, not
a locked container); there the kernel kills what cannot stay below.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parent / "capped_session.py"


def run(mem_bytes: int, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(mem_bytes), *arguments],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, f"exit {done.returncode}: {done.stderr[-2000:]}"
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@pytest.fixture(scope="module")
def smallest_bytes() -> int:
    refused = run(200_000_000)
    assert "encoder" in refused["refusal"]
    assert "weights" in refused["refusal"]
    return int(refused["required_bytes"])


@contextmanager
def memory_group(limit_bytes: int) -> Iterator[Path | None]:
    """A memory cgroup (v2 or v1) with a hard limit and no swap, or None where none can be made."""
    for root, limit in (
        ("/sys/fs/cgroup", "memory.max"),
        ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
    ):
        group = Path(root) / f"edge-audiokv-test-{os.getpid()}"
        try:
            if root == "/sys/fs/cgroup" and not Path(root, "cgroup.controllers").exists():
                continue
            group.mkdir()
        except OSError:
            continue
        try:
            (group / limit).write_text(str(limit_bytes))
        except OSError:
            group.rmdir()
            continue
        try:
            yield group
        finally:
            group.rmdir()
        return
    yield None


def check(result: dict[str, Any], cap_bytes: int) -> None:
    assert result["cap_bytes"] == cap_bytes
    assert result["peak_rss_bytes"] <= cap_bytes
    assert sum(result["parts"].values()) == pytest.approx(result["rss_bytes"], rel=0.03)
    heard = " ".join(result["texts"]).lower()
    for phrase in ("looked at the sea", "small garden full of white", "letter to his brother"):
        assert phrase in heard


def test_a_little_less_than_the_smallest_is_refused(smallest_bytes: int) -> None:
    refused = run(int(smallest_bytes * 0.95))
    assert refused["required_bytes"] == pytest.approx(smallest_bytes, rel=0.03)


def test_the_smallest_cap_that_the_refusal_names_works_in_a_group_of_that_size(
    smallest_bytes: int,
) -> None:
    with memory_group(smallest_bytes) as group:
        result = run(smallest_bytes, *([str(group)] if group else []))
    check(result, smallest_bytes)
    assert result["evictions"] > 0  # rows went, and the session went on


def test_a_larger_cap_gives_the_cache_more_and_is_kept(smallest_bytes: int) -> None:
    cap_bytes = smallest_bytes + 200_000_000
    result = run(cap_bytes)
    check(result, cap_bytes)
    assert result["kv_bytes"] > 100_000_000
