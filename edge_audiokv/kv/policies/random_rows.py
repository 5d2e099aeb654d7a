"""random: rows stay by lot. The floor that every method must beat.

Each position draws once for each head from `seed`, so that repeated evictions agree with one
another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edge_audiokv.kv.option import option
from edge_audiokv.kv.policy import Policy, register
from edge_audiokv.kv.shape import FloatArray
from edge_audiokv.kv.view import KVView


@register
@dataclass(frozen=True)
class Random(Policy):
    name: ClassVar[str] = "random"
    choose_when: ClassVar[str] = "To see what chance does: a method that is no better is of no use."

    seed: int = option(0, "Another draw; the same seed draws the same rows.")

    def score(self, view: KVView) -> FloatArray:
        n_positions = int(view.positions.max(initial=0)) + 1
        rng = np.random.default_rng(self.seed)
        lots = rng.random((n_positions, view.counts.size), dtype=np.float32)
        lots = lots.T.reshape(*view.counts.shape, n_positions)
        return np.take_along_axis(lots, np.maximum(view.positions, 0), axis=2)
