"""What was measured, a flat row each, under llama-bench's names where it has one.

llama-bench (tools/llama-bench of llama.cpp) writes `n_prompt` for a prompt that is read, `n_gen`
for tokens that are decoded at a depth of `n_depth`, `avg_ts` and `stddev_ts` for tokens a second,
`avg_ns` and `stddev_ns` for one repetition.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edge_audiokv.eval.bench.statistics import middle, ratios

STOCK, OURS = "llama.cpp", "edge-audiokv"


@dataclass(frozen=True)
class Facts:
    """What all rows of a run share.

    `model_size` counts bytes; `load_average` is the minute's before the run began.
    """

    build_commit: str
    cpu_info: str
    model_filename: str
    model_type: str
    model_size: int
    n_threads: int
    n_batch: int
    n_ubatch: int
    kv_policy: str
    test_time: str
    load_average: float
    bandwidth_bytes_per_s: float


@dataclass(frozen=True)
class Row:
    """`test` is prefill, decode, eviction, encoder, reader, latency or session; fields that it has
    no use for are None.

    `median_*`, `low_*` and `high_*` are of the repetitions; `ratio` is ours to stock, pair by pair,
    in tokens a second, `stock_ts` the median of stock's in the same turns. `kv_rows` are the rows
    of all heads, `kv_bytes` the pools that hold them, `peak_rss_bytes` the peak of a process with
    weights and cache alone, or of a whole session.
    """

    test: str
    implementation: str = OURS
    n_prompt: int = 0
    n_gen: int = 0
    n_depth: int = 0
    type_k: str | None = None
    type_v: str | None = None
    kv_share: float | None = None
    kv_rows: int | None = None
    kv_bytes: int | None = None
    avg_ns: float | None = None
    stddev_ns: float | None = None
    median_ns: float | None = None
    low_ns: float | None = None
    high_ns: float | None = None
    avg_ts: float | None = None
    stddev_ts: float | None = None
    median_ts: float | None = None
    low_ts: float | None = None
    high_ts: float | None = None
    spread: float | None = None
    stock_ts: float | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    bytes_per_token: int | None = None
    limit_ts: float | None = None
    limit_share: float | None = None
    audio_s: float | None = None
    realtime_factor: float | None = None
    segments: int | None = None
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None
    peak_rss_bytes: int | None = None
    samples_ns: tuple[int, ...] = ()
    samples_ts: tuple[float, ...] = ()


def timed(seconds: Sequence[float], n_tokens: int = 0) -> dict[str, Any]:
    """The fields of a row for repetitions of `seconds` each, which took `n_tokens` if any."""
    times = [1e9 * value for value in seconds]
    found: dict[str, Any] = {
        **_fields(times, "ns"),
        "spread": middle(times).spread,
        "samples_ns": tuple(round(value) for value in times),
    }
    if n_tokens:
        rates = [n_tokens / value for value in seconds]
        found |= {**_fields(rates, "ts"), "samples_ts": tuple(rates)}
    return found


def compared(
    ours_s: Sequence[float], stock_s: Sequence[float] | None, n_tokens: int
) -> dict[str, Any]:
    """The fields of a row for a comparison with stock llama.cpp in the same turns, if it was
    there: seconds of each repetition.
    """
    if stock_s is None:
        return {}
    found = ratios(stock_s, ours_s)
    return {
        "stock_ts": n_tokens / middle(stock_s).value,
        "ratio": found.value,
        "ratio_low": found.low,
        "ratio_high": found.high,
    }


def _fields(values: Sequence[float], unit: str) -> dict[str, float]:
    around = middle(values)
    return {
        f"avg_{unit}": statistics.fmean(values),
        f"stddev_{unit}": statistics.stdev(values) if len(values) > 1 else 0.0,
        f"median_{unit}": around.value,
        f"low_{unit}": around.low,
        f"high_{unit}": around.high,
    }
