"""One number for the whole process: plan it before loading, account for it while running.

The planner adds up every part that is not KV cache and gives the rest of the cap to the cache.
A device with memory of its own has a cap of its own, which a cache that lies there is given from.
The ledger answers where the bytes are now, beside the kernel's own figure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from edge_audiokv.errors import MemoryBudgetError
from edge_audiokv.kv.holders import Holding
from edge_audiokv.units import format_bytes, format_cap

# What Python's and C's heaps grow by in hours of use, and library pages that are touched late
# (measured: 8 to 14 MB beside parts of 390 MB), as a share of the parts.
SLACK_SHARE = 0.05
# What a refusal adds to the smallest cap that it names.
SPREAD_SHARE = 0.015


@dataclass(frozen=True)
class DeviceShare:
    """What a device with memory of its own holds: `parts` in bytes, under a cap of its own, and the
    cache beside them if it `takes_cache`.
    """

    name: str
    cap_bytes: int
    parts: Mapping[str, int]
    takes_cache: bool

    @property
    def fixed_bytes(self) -> int:
        """The parts, and slack."""
        return int(sum(self.parts.values()) * (1 + SLACK_SHARE))


@dataclass(frozen=True)
class MemoryPlan:
    """What each part may take, in bytes.

    `parts` excludes `kv_bytes`, `tables_bytes` (what is kept for every row beside the row) and
    `slack_bytes`. What lies on `device` is under its cap, not under `cap_bytes`.
    """

    cap_bytes: int
    parts: dict[str, int]
    slack_bytes: int
    kv_bytes: int
    tables_bytes: int = 0
    device: DeviceShare | None = None

    @property
    def total_bytes(self) -> int:
        """Everything in the machine's memory together; never above the cap."""
        kv_bytes = 0 if self._cache_is_there else self.kv_bytes
        return sum(self.parts.values()) + self.slack_bytes + kv_bytes + self.tables_bytes

    @property
    def device_bytes(self) -> int:
        """Everything on the device together; never above its cap."""
        kv_bytes = self.kv_bytes if self._cache_is_there else 0
        return (self.device.fixed_bytes if self.device else 0) + kv_bytes

    @property
    def _cache_is_there(self) -> bool:
        return self.device is not None and self.device.takes_cache

    def lines(self) -> list[str]:
        """A readable sum, one part a line."""
        cache = [("KV cache", self.kv_bytes)]
        rows = [*self.parts.items(), ("slack", self.slack_bytes), ("row tables", self.tables_bytes)]
        rows += [] if self._cache_is_there else cache
        rows += [("cap", self.cap_bytes)]
        if self.device is not None:
            rows += [*self.device.parts.items(), *(cache if self._cache_is_there else [])]
            rows += [(f"{self.device.name} cap", self.device.cap_bytes)]
        return [f"{name:<16}{format_bytes(size):>12}" for name, size in rows]


def plan_memory(
    cap_bytes: int,
    parts: Mapping[str, int],
    *,
    kv_min_bytes: int,
    kv_max_bytes: int,
    table_share: float = 0.0,
    others: Collection[str] = (),
    device: DeviceShare | None = None,
) -> MemoryPlan:
    """Give the cache what the cap leaves, at most `kv_max_bytes`.

    `table_share` is what each byte of cache brings with it: statistics, masks, working arrays.
    `others` names the parts that other engines of the process hold. A cache that lies on `device`
    gets what that one's cap leaves, if the tables of its rows fit here.
    Raises MemoryBudgetError with the sum, or both sums, and the smallest cap that works if less
    than `kv_min_bytes` is left.
    """
    fixed_bytes = sum(parts.values())
    slack_bytes = int(fixed_bytes * SLACK_SHARE)
    left_bytes = cap_bytes - fixed_bytes - slack_bytes
    there = device is not None and device.takes_cache
    # What a byte of cache takes here.
    here_share = table_share if there else 1 + table_share
    kv_bytes = min(int(left_bytes / here_share) if here_share else kv_max_bytes, kv_max_bytes)
    least_bytes = math.ceil(kv_min_bytes * table_share) + (0 if there else kv_min_bytes)
    fits = left_bytes >= 0 and kv_bytes >= kv_min_bytes
    if device is not None:
        device_left_bytes = device.cap_bytes - device.fixed_bytes
        kv_bytes = min(kv_bytes, device_left_bytes) if there else kv_bytes
        fits = fits and device_left_bytes >= (kv_min_bytes if there else 0)
    if not fits:
        needed_bytes = fixed_bytes + slack_bytes + least_bytes
        raise _refusal(cap_bytes, parts, needed_bytes, kv_min_bytes, least_bytes, others, device)
    return MemoryPlan(
        cap_bytes,
        dict(parts),
        slack_bytes,
        kv_bytes,
        tables_bytes=int(kv_bytes * table_share),
        device=device,
    )


def _refusal(
    cap_bytes: int,
    parts: Mapping[str, int],
    needed_bytes: int,
    kv_min_bytes: int,
    least_bytes: int,
    others: Collection[str],
    device: DeviceShare | None,
) -> MemoryBudgetError:
    """`needed_bytes` of the machine's memory, `least_bytes` of them for the smallest cache."""
    there = device is not None and device.takes_cache
    slack_bytes = int(sum(parts.values()) * SLACK_SHARE)
    # What runs already differs by up to 5 MB from start to start (library pages that the kernel
    # maps or not): the cap that is named here must work the next time, too.
    smallest_mb = _with_spread_mb(needed_bytes)
    close = f"close {' or '.join(others)}, " if others else ""
    text = (
        f'mem="{format_cap(cap_bytes)}" cannot hold {_listed(parts)} + slack '
        f"{format_bytes(slack_bytes)} + {'row tables' if there else 'KV cache'} at least "
        f"{format_bytes(least_bytes)} = {format_bytes(needed_bytes)}, and {SPREAD_SHARE:.1%} that "
        "starts differ by."
    )
    cure = f'Use mem="{smallest_mb}MB" or more, {close}or a smaller model.'
    if device is None:
        return MemoryBudgetError(text, cure=cure, required_bytes=smallest_mb * 1_000_000)
    there_bytes = device.fixed_bytes + (kv_min_bytes if there else 0)
    cache = f" + KV cache at least {format_bytes(kv_min_bytes)}" if there else ""
    slack = format_bytes(device.fixed_bytes - sum(device.parts.values()))
    both = text.replace("cannot hold", "must hold", 1).rstrip(".")
    return MemoryBudgetError(
        f'{both}; and gpu_mem="{format_cap(device.cap_bytes)}" of {device.name} must hold '
        f"{_listed(device.parts)} + slack {slack}{cache} = {format_bytes(there_bytes)}.",
        cure=f'Use mem="{smallest_mb}MB" and gpu_mem="{_with_spread_mb(there_bytes)}MB" or more, '
        f"{close}fewer gpu_layers, or a smaller model.",
        required_bytes=smallest_mb * 1_000_000,
    )


def _listed(parts: Mapping[str, int]) -> str:
    return " + ".join(f"{name} {format_bytes(size)}" for name, size in parts.items())


def _with_spread_mb(size_bytes: int) -> int:
    return math.ceil(size_bytes * (1 + SPREAD_SHARE) / 1_000_000)


INTERPRETER = "interpreter"


@dataclass
class Ledger:
    """Named parts, each a function that answers its bytes now.

    Other engines of the process are parts of each other's ledger, under their names.
    """

    cap_bytes: int
    holding: Holding = field(default_factory=lambda: Holding("engine"))
    _parts: dict[str, Callable[[], int]] = field(default_factory=dict)
    _on_device: dict[str, Callable[[], int]] = field(default_factory=dict)

    def add(self, name: str, nbytes: Callable[[], int]) -> None:
        """Register a part, replacing one of the same name."""
        self._parts[name] = nbytes

    def add_on_device(self, name: str, nbytes: Callable[[], int]) -> None:
        """Register what lies in a device's own memory, which is under another cap."""
        self._on_device[name] = nbytes

    def device_parts(self) -> dict[str, int]:
        """Bytes now of what lies in a device's own memory."""
        return {name: nbytes() for name, nbytes in self._on_device.items()}

    @contextmanager
    def measured(self, name: str, later_bytes: Callable[[], int] = lambda: 0) -> Iterator[None]:
        """What the block adds to resident memory is the part `name`, from now on.

        `later_bytes` is asked after the block for what will come on top, and known to.
        """
        before_bytes = rss_bytes()
        yield
        grown_bytes = max(0, rss_bytes() - before_bytes) + later_bytes()
        self.add(name, lambda: grown_bytes)

    def parts(self) -> dict[str, int]:
        """Bytes of every part now."""
        return {**self.own_parts(), **self.holding.others()}

    def own_parts(self) -> dict[str, int]:
        """The same without other engines."""
        return {name: nbytes() for name, nbytes in self._parts.items()}

    def settle(self) -> None:
        """All is loaded: from now on the other engines of the process count this one."""
        parts = self.own_parts()
        interpreter_bytes = parts.pop(INTERPRETER, 0)
        self.holding.settle(sum(parts.values()), interpreter_bytes)


def rss_bytes() -> int:
    """Resident bytes of this process now, mapped weights included, as the kernel counts them."""
    return int(psutil.Process().memory_info().rss)


def anonymous_rss_bytes() -> int:
    """Resident bytes that no file backs: heaps, arenas, pools. 0 where the kernel does not say.

    The rest of `rss_bytes()` are mapped files: weights and libraries, which the kernel may drop.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    return 0


def peak_rss_bytes() -> int:
    """Highest resident bytes of this process so far (VmHWM; elsewhere the resource module's)."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def total_memory_bytes() -> int:
    """Memory that this process can hope for: the machine's, or its cgroup's if that is less."""
    total_bytes = int(psutil.virtual_memory().total)
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.exists():
        text = limit.read_text().strip()
        if text.isdigit():
            total_bytes = min(total_bytes, int(text))
    return total_bytes
