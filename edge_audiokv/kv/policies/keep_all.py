"""keep-all: evict nothing. The baseline, and the oracle of the tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edge_audiokv.kv.policy import Policy, register
from edge_audiokv.kv.shape import FloatArray, Rows
from edge_audiokv.kv.view import KVView


@register
@dataclass(frozen=True)
class KeepAll(Policy):
    """Every row stays, whatever the target. A full cache is the engine's error to report."""

    name: ClassVar[str] = "keep-all"
    choose_when: ClassVar[str] = (
        "When all of it fits: nothing is forgotten, and what does not fit is refused."
    )
    evicts: ClassVar[bool] = False

    def score(self, view: KVView) -> FloatArray:
        return np.zeros(view.positions.shape, np.float32)

    def select(self, view: KVView) -> Rows:
        return Rows.from_mask(view.valid)
