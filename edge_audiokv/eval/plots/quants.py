"""What each cell of a run hurts, against its bytes: KL divergence and word errors, with fronts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_audiokv.eval.plots.common import load_pyplot, save
from edge_audiokv.eval.quants.grid import BASE, FULL, cell_of
from edge_audiokv.eval.quants.report import fronts, measured, total_bytes
from edge_audiokv.eval.quants.rows import Row

_MIB = 1 << 20
# Below it a divergence is the rounding of single numbers, and a logarithm has no zero.
_LEAST_NATS = 1e-5
_MARKERS = "osD^vP*X"


def plot_quants(runs: Sequence[Sequence[Row]], path: Path) -> None:
    """Write `path` (png, svg, pdf). Raises MissingExtraError without matplotlib, or OutputError.

    Colours are types of weights, markers types of rows; hollow where rows were evicted.
    """
    pyplot = load_pyplot()
    found = [measured(rows) for rows in runs]
    every = [row for rows in found for row in rows]
    colours, markers = _names(every, _weights), _names(every, lambda row: cell_of(row).rows)
    figure, axes = pyplot.subplots(1, 2, figsize=(13, 5.5), layout="constrained")
    for rows in found:
        front = fronts(rows)
        _panel(axes[0], rows, "kld_mean", "kld", 1.0, _LEAST_NATS, colours, markers, front.kld)
        _panel(axes[1], rows, "wer", "wer_rise", 100.0, 0.0, colours, markers, front.wer)
    axes[0].set_yscale("log")
    axes[0].set_ylabel("KL divergence from the base, nats a token")
    axes[1].set_ylabel("word error rate, %; intervals of the difference from the base")
    for axis in axes:
        axis.set_xlabel("weights and KV rows held, MiB")
        axis.grid(alpha=0.3, which="both")
    handles = [
        *(_key(pyplot, f"C{index % 10}", "o", name) for name, index in colours.items()),
        *(_key(pyplot, "grey", _marker(i), f"KV {name}") for name, i in markers.items()),
        _key(pyplot, "grey", "o", "evicted, rows kept", fill="none"),
    ]
    figure.legend(handles=handles, fontsize=8, loc="outside right upper")
    save(figure, path, dpi=110)


def _panel(
    axis: Any,
    rows: Sequence[Row],
    field: str,
    interval: str,
    factor: float,
    least: float,
    colours: dict[str, int],
    markers: dict[str, int],
    best: frozenset[int],
) -> None:
    places = [(total_bytes(row) / _MIB, max(factor * row[field], least)) for row in rows]
    for row, (size, value) in zip(rows, places, strict=True):
        cell, middle = cell_of(row), row["kld_mean" if interval == "kld" else interval]
        low, high = (row[f"{interval}_{side}"] for side in ("low", "high"))
        sides = [[_side(middle, low, factor)], [_side(high, middle, factor)]]
        colour = f"C{colours[_weights(row)] % 10}"
        fill = colour if cell.policy == FULL else "none"
        axis.errorbar(
            size, value, yerr=sides, color=colour, mfc=fill, ms=6, lw=0.8, capsize=2,
            fmt=_marker(markers[cell.rows]),
        )  # fmt: skip
        if cell.policy != FULL:
            axis.annotate(
                f"{cell.share:.0%}", (size, value), (5, 3), fontsize=6, textcoords="offset points"
            )
    line = sorted(places[index] for index in best)
    axis.plot(*zip(*line, strict=True), drawstyle="steps-post", lw=1, color="black", zorder=0)


def _names(rows: Sequence[Row], name_of: Any) -> dict[str, int]:
    """Each name once, in the order in which it comes, with its number."""
    return {name: index for index, name in enumerate(dict.fromkeys(map(name_of, rows)))}


def _weights(row: Row) -> str:
    return str(row["model_type"] if row["weights"] == BASE else row["weights"])


def _marker(index: int) -> str:
    return _MARKERS[index % len(_MARKERS)]


def _key(pyplot: Any, colour: str, marker: str, text: str, fill: str | None = None) -> Any:
    return pyplot.Line2D([], [], color=colour, marker=marker, ls="", mfc=fill or colour, label=text)


def _side(high: float | None, low: float | None, factor: float) -> float:
    """Length of one side of an interval; none where there is no interval."""
    return 0.0 if high is None or low is None else max(0.0, factor * (high - low))
