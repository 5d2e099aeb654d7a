"""A run as a table, as CSV, and as one sentence that says what to run."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edge_audiokv.eval.quants.grid import BASE_CELL, cell_of
from edge_audiokv.eval.quants.rows import Row, base_of, failed, latest
from edge_audiokv.units import format_bytes

# What a cell may cost to be recommended: points of WER, or tokens with another first choice.
TOLERANCE, SAME_TOP = 0.01, 0.95
_RULE_OF_THREE = 3.0
_NOT_FLAT = ("scores", "tensors", "timings")


@dataclass(frozen=True)
class Front:
    """Indices of rows that no other row beats: none is as small and hurts as little."""

    kld: frozenset[int]
    wer: frozenset[int]

    def mark(self, index: int) -> str:
        """K and W of the fronts that a row stands on."""
        return "K" * (index in self.kld) + "W" * (index in self.wer)


def total_bytes(row: Row) -> int:
    """Weights, and the KV rows that one clip holds in the end, on average."""
    return int(row["model_bytes"] + row["kv_bytes"])


def measured(rows: Sequence[Row]) -> list[Row]:
    """The rows that count, in the order of the file."""
    return list(latest(rows).values())


def fronts(rows: Sequence[Row]) -> Front:
    return Front(_front(rows, "kld_mean"), _front(rows, "wer"))


def _front(rows: Sequence[Row], field: str) -> frozenset[int]:
    points = [(total_bytes(row), row[field]) for row in rows]
    return frozenset(
        index
        for index, mine in enumerate(points)
        if not any(
            other != mine and other[0] <= mine[0] and other[1] <= mine[1] for other in points
        )
    )


def markdown(rows: Sequence[Row]) -> str:
    """Everything about one run for people."""
    found, front = measured(rows), fronts(measured(rows))
    first = found[0]
    head = (
        *("", "weights", "KV", "policy", "budget", "size", "KV held"),
        *("KLD [95 %]", "median", "99 %", "same top", "WER", "rise, points [95 %]", "ins"),
        *("collapsed", "repeat", "tok/s", "RTF", "load", "peak RSS"),
    )
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for index, row in enumerate(found):
        lines.append(f"| {' | '.join(_cells(row, front.mark(index)))} |")
    failures = [f"- {cell.name}: {why}" for cell, why in failed(rows).items()]
    drawn = f"{first['blocks']} {first['block']}s" if first["blocks"] > 1 else "nothing"
    notes = [
        f"{first['clips']} clips, {first['audio_s'] / 60:.1f} min, {first['words']} words, "
        f"{first['tokens']} tokens of the base's own text. Base: {first['model_type']}, KV f16, all"
        f" rows; the LLM came in {first['came_in']}.",
        f"KLD: nats a token, KL(base || cell), a lower bound by at most "
        f"{max(row['kld_left_out'] for row in found):.1g}; the base's own row is the noise. "
        f"Intervals draw {drawn} anew, each alone. "
        "K, W: no other cell is as small (size and KV held) and has as low a KLD, a WER. "
        "Times are of one pass.",
        *(["Not measured:", *failures] if failures else []),
    ]
    return "\n".join([f"### {first['model']}", "", *notes[:1], "", *lines, "", *notes[1:]])


def _cells(row: Row, mark: str) -> tuple[str, ...]:
    cell, times = cell_of(row), row["timings"]
    evicts = cell.share < 1
    return (
        mark,
        row["model_type"] if cell.weights == "base" else cell.weights,
        cell.rows,
        cell.policy if evicts else "-",
        f"{cell.share:.0%}" + (f" ({row['kept_share']:.0%})" if evicts else ""),
        format_bytes(row["model_bytes"]),
        format_bytes(row["kv_bytes"]),
        f"{row['kld_mean']:.4f}{_interval(row, 'kld', 1, 4)}",
        f"{row['kld_median']:.4f}",
        f"{row['kld_p99']:.3f}",
        f"{row['same_top']:.1%}",
        f"{row['wer']:.1%}",
        f"{100 * row['wer_rise']:+.1f}{_interval(row, 'wer_rise', 100, 1, sign='+')}",
        f"{row['insertion_rate']:.1%}",
        f"{row['collapsed_share']:.0%}",
        f"{row['repeat_words']}",
        f"{times['tokens_per_s']:.1f}",
        f"{times['realtime_factor']:.2f}",
        f"{times['load_s']:.1f} s",
        format_bytes(times["peak_rss_bytes"]),
    )


def _interval(row: Row, name: str, factor: float, digits: int, *, sign: str = "") -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    if low is None:
        return ""
    return f" [{factor * low:{sign}.{digits}f}, {factor * high:{sign}.{digits}f}]"


def recommend(rows: Sequence[Row]) -> str:
    """One sentence: the smallest cell that is shown to cost little, or that none is."""
    found = measured(rows)
    others = [row for row in found if cell_of(row) != BASE_CELL]
    base = base_of(rows)
    if base is None or not others:
        return "There is nothing to choose from: only the base was measured."
    small = [row for row in others if total_bytes(row) < total_bytes(base)]
    shown = [row for row in small if _most(row) <= TOLERANCE and row["collapsed_rise"] <= 0]
    if shown:
        best = min(shown, key=_by_size)
        return (
            f"Run {_said(best, base)}: the smallest of {len(others)} cells whose WER is, with 95 %,"
            f" at most {100 * TOLERANCE:g} point above the base's {base['wer']:.1%} "
            f"({100 * best['wer_rise']:+.1f} points{_interval(best, 'wer_rise', 100, 1, sign='+')})"
            " and in which no more clips collapse."
        )
    like = [row for row in small if row["same_top"] >= SAME_TOP and row["collapsed_rise"] <= 0]
    few = (
        f"{base['clips']} clips of {base['words']} words do not show any of {len(others)} cells to "
        f"be within {100 * TOLERANCE:g} point of the base's WER"
    )
    if not like:
        return f"{few}, and none has the base's first choice in {SAME_TOP:.0%} of the tokens."
    best = min(like, key=_by_size)
    return (
        f"{few}; going by the LLM alone, run {_said(best, base)}, the smallest that has the base's "
        f"first choice in {SAME_TOP:.0%} of the tokens ({best['same_top']:.1%}), and measure it on "
        "more clips."
    )


def _most(row: Row) -> float:
    """How much the WER may be above the base's. Where not one word differs draws do not either,
    but that was seen in so many words only: the rule of three.
    """
    high = row["wer_rise_high"]
    return math.inf if high is None else max(float(high), _RULE_OF_THREE / row["words"])


def _by_size(row: Row) -> tuple[int, float]:
    return total_bytes(row), row["kld_mean"]


def _said(row: Row, base: Row) -> str:
    cell = cell_of(row)
    name = row["model_type"] if cell.weights == "base" else cell.weights
    kept = "all rows" if cell.share >= 1 else f"{cell.policy} at {cell.share:.0%}"
    return (
        f"{name} with KV {cell.rows} and {kept} ({format_bytes(total_bytes(row))} of weights and "
        f"rows, the base {format_bytes(total_bytes(base))})"
    )


def to_csv(runs: Sequence[Sequence[Row]]) -> str:
    """All cells of all runs, a line each, with the columns of the first."""
    flat = []
    for rows in runs:
        found, front = measured(rows), fronts(measured(rows))
        for index, row in enumerate(found):
            flat.append(_flat(row) | {"total_bytes": total_bytes(row), "front": front.mark(index)})
    out = io.StringIO()
    writer = csv.DictWriter(out, list(flat[0]), lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(flat)
    return out.getvalue()


def _flat(row: Row) -> dict[str, Any]:
    plain = {name: value for name, value in row.items() if name not in _NOT_FLAT}
    return {**plain, **row["timings"]}
