"""h2o: heavy hitters by summed attention, plus recent rows (Zhang et al., 2306.14048; published
code).

Score = sum over queries of the softmax rows, per head, not normalised by age; half of a head's
budget is the most recent rows (published: equal parts, or 4 heavy and 512 recent).
Mapping: fused attention shows no weights, so the sums run over the queries that were scored (the
last window of each prompt part and the scored decode steps), weighted by their number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edge_audiokv.kv import shared
from edge_audiokv.kv.policy import Policy, Tiers, register
from edge_audiokv.kv.select import FREE, RECENT
from edge_audiokv.kv.shape import FloatArray
from edge_audiokv.kv.view import KVView


@register
@dataclass(frozen=True)
class H2O(Policy):
    name: ClassVar[str] = "h2o"
    choose_when: ClassVar[str] = (
        "As the classic of attention sums; for sessions in which the same questions come back."
    )
    needs: ClassVar[frozenset[str]] = frozenset({"total"})

    recent_share: float = shared.recent_share(0.5, "Less remembers further back.")

    def score(self, view: KVView) -> FloatArray:
        return view.attention() if view.total is None else view.total

    def protect(self, view: KVView) -> Tiers:
        recent = view.rank_from_end < (view.targets * self.recent_share)[..., None]
        return np.where(recent & view.valid, np.int8(RECENT), np.int8(FREE))
