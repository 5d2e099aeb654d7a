"""adakv: SnapKV scores, budgets by how many of a layer's best rows a head owns (2407.11550; code).

Per input: the layer's H * C best rows are found over all its heads together; a head's budget is its
count * (1 - floor) + floor * C. Window 32, max pooling 7, floor 0.2.
Mapping: the counts of one input become weights when a context is made (anew) for it; inside a
running context the pools stay as they are, and the method is SnapKV with max pooling.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edge_audiokv.kv import shared
from edge_audiokv.kv.budget import joint_top
from edge_audiokv.kv.option import option
from edge_audiokv.kv.policies.snapkv import SnapKV
from edge_audiokv.kv.policy import register
from edge_audiokv.kv.shape import FloatArray, KVShape
from edge_audiokv.kv.view import KVView


@register
@dataclass(frozen=True)
class AdaKV(SnapKV):
    name: ClassVar[str] = "adakv"
    choose_when: ClassVar[str] = (
        "With long prompts of one kind each, where heads differ from input to input; it needs "
        "no head profile."
    )

    kernel: int = shared.kernel(7)
    pooling: str = shared.pooling("max")
    floor_share: float = option(
        0.2,
        "Share of the mean budget that every head keeps, whatever it is worth. More evens heads "
        "out.",
        most=1,
    )
    budget_share: float = option(
        0.4,
        "Share of the rows taken as the budget while heads are compared; set it near --kv- budget.",
        least=0.01,
        most=1,
    )

    def weights(self, shape: KVShape, view: KVView | None = None) -> FloatArray | None:
        if view is None or view.n_rows == 0:
            return None
        scores = self.smooth(view, self.score(view))
        # The view's targets are not the budget yet when budgets are being made.
        mean_rows = max(1, int(self.budget_share * view.counts.mean()))
        owned = joint_top(np.nan_to_num(scores), view.counts, mean_rows, floor=self.floor_share)
        return owned.astype(np.float32)

    def floor(self, mean_rows: float) -> tuple[int, float]:
        return self.window, 0.0
