"""What each cell of a run hurts, against its bytes: KL divergence and word errors, with fronts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edge_audiokv.eval.plots.common import load_pyplot, save
from edge_audiokv.eval.quants.grid import cell_of
from edge_audiokv.eval.quants.report import fronts, measured, total_bytes
from edge_audiokv.eval.quants.rows import Row

_MIB = 1 << 20
# Below it a divergence is the rounding of single numbers, and a logarithm has no zero.
_LEAST_NATS = 1e-5


def plot_quants(runs: Sequence[Sequence[Row]], path: Path) -> None:
    """Write `path` (png, svg, pdf). Raises MissingExtraError without matplotlib, or OutputError."""
    pyplot = load_pyplot()
    figure, axes = pyplot.subplots(1, 2, figsize=(13, 5.5), layout="constrained")
    for rows in runs:
        found, front = measured(rows), fronts(measured(rows))
        sizes = [total_bytes(row) / _MIB for row in found]
        nats = [max(row["kld_mean"], _LEAST_NATS) for row in found]
        wer = [100 * row["wer"] for row in found]
        sides = (
            [_side(row["kld_mean"], row["kld_low"]) for row in found],
            [_side(row["kld_high"], row["kld_mean"]) for row in found],
        )
        rises = (
            [100 * _side(row["wer_rise"], row["wer_rise_low"]) for row in found],
            [100 * _side(row["wer_rise_high"], row["wer_rise"]) for row in found],
        )
        for axis, values, errors, best in (
            (axes[0], nats, sides, front.kld),
            (axes[1], wer, rises, front.wer),
        ):
            axis.errorbar(sizes, values, yerr=errors, fmt="o", ms=4, lw=0.8, capsize=2, alpha=0.8)
            line = sorted((sizes[index], values[index]) for index in best)
            axis.plot(*zip(*line, strict=True), drawstyle="steps-post", lw=1.2, color="black")
            for index, row in enumerate(found):
                cell = cell_of(row)
                kept = "" if cell.share >= 1 else f" {cell.policy} {cell.share:.0%}"
                name = row["model_type"] if cell.weights == "base" else cell.weights
                text = f"{name} {cell.rows}{kept}"
                axis.annotate(
                    text, (sizes[index], values[index]), (3, 3), fontsize=6,
                    textcoords="offset points",
                )  # fmt: skip
    axes[0].set_yscale("log")
    axes[0].set_ylabel("KL divergence from the base, nats a token")
    axes[1].set_ylabel("word error rate, %; interval of the difference")
    for axis in axes:
        axis.set_xlabel("weights and KV rows held, MiB")
        axis.grid(alpha=0.3, which="both")
    save(figure, path, dpi=110)


def _side(high: float | None, low: float | None) -> float:
    """Length of one side of an interval; none where there is no interval."""
    return 0.0 if high is None or low is None else max(0.0, high - low)
