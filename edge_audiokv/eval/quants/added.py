"""Is the damage of quantised weights, quantised rows and eviction that of each, added up?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edge_audiokv.eval.quants.grid import Cell, cell_of
from edge_audiokv.eval.quants.rows import Row, base_of, column, latest
from edge_audiokv.eval.quants.statistics import Interval, ratio


@dataclass(frozen=True)
class Added:
    """A cell with several changes, beside the cells that have one of them each.

    `kld` and `sum_kld` are nats a token, `more_kld` the first less the second; `rise` and
    `sum_rise` are of the WER, `more_rise` likewise. Intervals draw the same blocks for all.
    """

    cell: Cell
    kld: float
    sum_kld: float
    more_kld: Interval
    rise: float
    sum_rise: float
    more_rise: Interval


def added(rows: Sequence[Row]) -> list[Added]:
    """Every cell of which all parts were measured, too."""
    by_cell, base = latest(rows), base_of(rows)
    found = []
    for row in by_cell.values():
        cell = cell_of(row)
        parts = [by_cell.get(part) for part in cell.parts()]
        known = [part for part in parts if part is not None]
        if cell.n_changes < 2 or len(known) < len(parts) or base is None:
            continue
        mine, others = row["scores"], [part["scores"] for part in known]
        blocks = [item["block"] for item in mine]
        clips = range(len(mine))
        nats = [sum(scores[i]["nats"] for scores in others) for i in clips]
        less = [base["scores"][i]["edits"] for i in clips]
        edits = [sum(scores[i]["edits"] - less[i] for scores in others) for i in clips]
        found.append(
            Added(
                cell,
                row["kld_mean"],
                sum(part["kld_mean"] for part in known),
                ratio([mine[i]["nats"] - nats[i] for i in clips], column(mine, "tokens"), blocks),
                row["wer_rise"],
                sum(part["wer_rise"] for part in known),
                ratio(
                    [mine[i]["edits"] - less[i] - edits[i] for i in clips],
                    column(mine, "words"),
                    blocks,
                ),
            )
        )
    return found


def added_text(found: Sequence[Added]) -> str:
    """Markdown, with what it comes to in one sentence; empty of nothing."""
    if not found:
        return ""
    lines = [
        "| cell | KLD | parts added | more [95 %] | WER rise, points | parts added | more [95 %] |",
        f"|{'---|' * 7}",
    ]
    for item in found:
        lines.append(
            f"| {item.cell.name} | {item.kld:.4f} | {item.sum_kld:.4f} | "
            f"{_said(item.more_kld, 1, 4)} | {100 * item.rise:+.1f} | {100 * item.sum_rise:+.1f} | "
            f"{_said(item.more_rise, 100, 1)} |"
        )
    return "\n".join(["Changes together, beside each alone:", "", *lines, "", verdict(found)])


def verdict(found: Sequence[Added]) -> str:
    """How many cells are worse, or better, than the sum of their parts by more than chance."""
    known = [item for item in found if item.more_kld.low is not None]
    if not known:
        return "One block of clips does not tell whether damage adds up."
    above = sum((item.more_kld.low or 0) > 0 for item in known)
    below = sum((item.more_kld.high or 0) < 0 for item in known)
    shares = [item.kld / item.sum_kld for item in known if item.sum_kld > 0]
    spread = f" (KLD {min(shares):.0%} to {max(shares):.0%} of the sum)" if shares else ""
    return (
        f"Of {len(known)} cells with several changes {above} lose more than their parts added up, "
        f"{below} lose less, and of {len(known) - above - below} the interval holds that sum"
        f"{spread}."
    )


def _said(interval: Interval, factor: float, digits: int) -> str:
    text = f"{factor * interval.value:+.{digits}f}"
    if interval.low is None or interval.high is None:
        return text
    return f"{text} [{factor * interval.low:+.{digits}f}, {factor * interval.high:+.{digits}f}]"
