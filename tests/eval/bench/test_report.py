"""One run in each format: names of llama-bench, figures that agree, and when to distrust them."""

from __future__ import annotations

import csv
import io
import json
import statistics
from dataclasses import replace

import numpy as np
import pytest

from edge_audiokv.eval.bench.report import warnings, write
from edge_audiokv.eval.bench.rows import OURS, STOCK, Facts, Row, compared, timed

FACTS = Facts(
    build_commit="llama_cpp_python 0.0.0", cpu_info="a processor", model_filename="m.gguf",
    model_type="llama q8_0", model_size=1 << 20, n_threads=2, n_batch=128, n_ubatch=128,
    kv_policy="audiokv-edge", test_time="2026-01-01T00:00:00+00:00", load_average=0.1,
    bandwidth_bytes_per_s=8e9,
)  # fmt: skip
OURS_S, STOCK_S = [1.0, 1.1, 0.9, 1.0, 1.05], [2.0, 2.1, 1.8, 2.0, 2.1]
ROWS = [
    Row("encoder", audio_s=10.0, realtime_factor=0.05, **timed([0.5])),
    Row("latency", audio_s=20.0, realtime_factor=0.2, segments=3, latency_p50_ms=512.4,
        latency_p95_ms=733.0),
    Row("session", peak_rss_bytes=600 << 20),
    Row("prefill", n_prompt=512, type_k="f16", type_v="f16", kv_share=1.0,
        **timed(OURS_S, 512), **compared(OURS_S, STOCK_S, 512)),
    Row("prefill", STOCK, n_prompt=512, type_k="f16", type_v="f16", kv_share=1.0,
        **timed(STOCK_S, 512)),
    Row("eviction", n_prompt=512, type_k="f16", type_v="f16", kv_share=0.4, **timed([0.02] * 5)),
    Row("decode", n_gen=32, n_depth=512, type_k="f16", type_v="f16", kv_share=0.4, kv_rows=18432,
        kv_bytes=5 << 20, bytes_per_token=140 << 20, limit_ts=54.5, limit_share=0.58,
        peak_rss_bytes=240 << 20, **timed(OURS_S, 32), **compared(OURS_S, STOCK_S, 32)),
    Row("decode", STOCK, n_gen=32, n_depth=512, type_k="f16", type_v="f16", kv_share=1.0,
        kv_bytes=12 << 20, bytes_per_token=150 << 20, limit_share=0.31, peak_rss_bytes=230 << 20,
        **timed(STOCK_S, 32)),
]  # fmt: skip
LLAMA_BENCH = {
    *("build_commit", "cpu_info", "model_filename", "model_type", "model_size", "n_batch"),
    *("n_ubatch", "n_threads", "type_k", "type_v", "n_prompt", "n_gen", "n_depth", "test_time"),
    *("avg_ns", "stddev_ns", "avg_ts", "stddev_ts"),
}


def test_times_become_rates_as_numpy_has_them() -> None:
    row = Row("decode", **timed(OURS_S, 32))
    rates = 32 / np.array(OURS_S)
    assert row.avg_ts == pytest.approx(rates.mean())
    assert row.stddev_ts == pytest.approx(rates.std(ddof=1))
    assert row.median_ts == pytest.approx(np.median(rates))
    assert (row.low_ts, row.high_ts) == pytest.approx((rates.min(), rates.max()))
    assert row.avg_ns == pytest.approx(1e9 * statistics.mean(OURS_S))
    assert row.samples_ts == pytest.approx(rates)
    assert Row("encoder", **timed(OURS_S)).avg_ts is None


def test_a_ratio_is_of_pairs() -> None:
    row = Row("decode", **compared(OURS_S, STOCK_S, 32))
    pairs = np.array(STOCK_S) / np.array(OURS_S)
    assert row.ratio == pytest.approx(np.median(pairs))
    assert (row.ratio_low, row.ratio_high) == pytest.approx((pairs.min(), pairs.max()))
    assert row.stock_ts == pytest.approx(16.0)
    assert compared(OURS_S, None, 32) == {}


def test_json_is_a_flat_list_with_llama_bench_s_names() -> None:
    found = json.loads(write(FACTS, ROWS, [], "json"))
    assert len(found) == len(ROWS)
    for row in found:
        assert {*row} >= LLAMA_BENCH
    decoded = found[6]
    assert (decoded["test"], decoded["n_prompt"], decoded["n_gen"]) == ("decode", 0, 32)
    assert decoded["implementation"] == OURS and len(decoded["samples_ns"]) == 5


def test_csv_says_what_json_says() -> None:
    plain = json.loads(write(FACTS, ROWS, [], "json"))
    rows = list(csv.DictReader(io.StringIO(write(FACTS, ROWS, [], "csv"))))
    for told, row in zip(rows, plain, strict=True):
        assert {*told} == {*row} - {"samples_ns", "samples_ts"}
        for name, text in told.items():
            assert text == ("" if row[name] is None else str(row[name]))


def test_markdown_shows_each_figure_beside_what_it_is_compared_with() -> None:
    lines = write(FACTS, ROWS, ["Something is left out."], "md").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    assert ["512", "f16", "256.0", "512.0 [465.5, 568.9]", "2.00 [1.91, 2.00]"] in cells
    (decoded,) = [row for row in cells if row[:3] == ["512", "f16", "40%"] and len(row) == 10]
    assert decoded[3:8] == ["16.0", "32.0 [29.1, 35.6]", "2.00 [1.91, 2.00]", "140.0 MiB", "58%"]
    assert ["512", "f16", "40%", "20.0 [20.0, 20.0]", "2.0%"] in cells
    assert "- Something is left out." in lines
    widths = {len(row) for row in cells}
    assert widths == {5, 6, 10}


def test_a_run_without_stock_has_no_ratio() -> None:
    alone = [replace(row, stock_ts=None, ratio=None) for row in ROWS if row.implementation == OURS]
    text = write(FACTS, alone, [], "md")
    assert "| 512 | f16 | - | 512.0 [465.5, 568.9] | - |" in text


@pytest.mark.parametrize(
    ("load", "spoilt", "n"), [(0.1, False, 0), (2.5, False, 1), (0.1, True, 1), (2.5, True, 2)]
)
def test_a_busy_machine_is_told(load: float, spoilt: bool, n: int) -> None:
    rows = [replace(ROWS[5], spread=0.5)] if spoilt else []
    found = warnings(replace(FACTS, load_average=load), [*ROWS[:3], *rows])
    assert len(found) == n
    assert not spoilt or "eviction at 512 tokens, 40% of the rows: 50%" in found[-1]


def test_nothing_measured_is_still_a_document() -> None:
    assert json.loads(write(FACTS, [], [], "json")) == []
    assert write(FACTS, [], [], "md").startswith("### m.gguf")
    assert write(FACTS, [], [], "csv").startswith("build_commit,")
