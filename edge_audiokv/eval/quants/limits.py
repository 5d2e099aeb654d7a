"""Limits for programs that build: no cell may be worse than the base by more than was allowed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edge_audiokv.errors import WorseError
from edge_audiokv.eval.quants.grid import cell_of
from edge_audiokv.eval.quants.rows import Row, latest

# name: (field of a row, units of it in one of what people type)
_MEASURES = {
    "wer": ("wer_rise", 0.01),
    "collapsed": ("collapsed_rise", 0.01),
    "kld": ("kld_mean", 1.0),
}


@dataclass(frozen=True)
class Limit:
    """wer and collapsed in points above the base, kld in nats a token."""

    name: str
    most: float


def read_limits(texts: Sequence[str], faults: list[str]) -> list[Limit]:
    """Limits such as "wer=+1.0"; what is wrong with any is added to `faults`."""
    limits = []
    for text in texts:
        name, _, number = text.partition("=")
        try:
            most = float(number)
        except ValueError:
            most = math.nan
        if name not in _MEASURES or not math.isfinite(most):
            faults.append(
                f"--fail-above: {text!r} is none of {', '.join(f'{n}=NUMBER' for n in _MEASURES)}"
            )
        else:
            limits.append(Limit(name, most))
    return limits


def check_limits(rows: Sequence[Row], limits: Sequence[Limit]) -> None:
    """Raise WorseError with every cell that is above a limit."""
    over = []
    for limit in limits:
        field, unit = _MEASURES[limit.name]
        for row in latest(rows).values():
            value = row[field] / unit
            # What is typed in points is compared in points: 1.0 is not above 1.0.
            if value > limit.most + 1e-9:
                over.append(f"{cell_of(row).name} ({limit.name} {value:+.4g})")
    if over:
        listed = ", ".join(f"{limit.name}={limit.most:+g}" for limit in limits)
        raise WorseError(
            f"{len(over)} cells are above --fail-above {listed}: {'; '.join(over)}.",
            cure="Take other types or larger budgets.",
        )
