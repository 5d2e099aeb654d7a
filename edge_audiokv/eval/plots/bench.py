"""Speed against length: decoding for each share of rows, and ours to stock llama.cpp."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_audiokv.eval.bench.rows import OURS, Row
from edge_audiokv.eval.plots.common import load_pyplot, save


def plot_bench(rows: Sequence[Row], path: Path) -> None:
    """Write `path` (png, svg, pdf). Raises MissingExtraError without matplotlib, or OutputError."""
    pyplot = load_pyplot()
    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    decoded = [row for row in rows if row.test == "decode"]
    for name, line in _lines(decoded).items():
        _draw(axes[0], name, line, "median_ts", "low_ts", "high_ts")
        best = [row for row in line if row.implementation == OURS and row.ratio is not None]
        if best:
            _draw(axes[1], name, best, "ratio", "ratio_low", "ratio_high")
    axes[0].set_ylabel("tokens decoded a second")
    axes[0].set_ylim(bottom=0)
    axes[1].set_ylabel("ours to stock llama.cpp")
    axes[1].axhline(1, color="grey", lw=0.8)
    for axis in axes:
        axis.set_xticks(sorted({row.n_depth for row in decoded}))
        axis.set_xlabel("tokens before")
        axis.grid(alpha=0.3)
    if decoded:
        axes[0].legend(fontsize=8)
    save(figure, path, dpi=110)


def _lines(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows of one line, by its name."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        kept = f" {row.kv_share:.0%}" if row.implementation == OURS else ""
        found.setdefault(f"{row.implementation}{kept}, {row.type_k}/{row.type_v}", []).append(row)
    return found


def _draw(axis: Any, name: str, rows: Sequence[Row], middle: str, low: str, high: str) -> None:
    values = [getattr(row, middle) for row in rows]
    sides = [
        [value - getattr(row, low) for row, value in zip(rows, values, strict=True)],
        [getattr(row, high) - value for row, value in zip(rows, values, strict=True)],
    ]
    depths = [row.n_depth for row in rows]
    axis.errorbar(depths, values, yerr=sides, marker="o", ms=4, lw=1, capsize=2, label=name)
