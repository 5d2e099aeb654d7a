"""headkv: static budgets from retrieval heads (HeadKV, 2410.19258; published code).

Every head keeps base - base/beta rows; the pool (base/beta) * L * H goes by head score. Scores are
SnapKV's with max pooling 7, window 32. Published beta 1.005 to 10; default here 1.5.
Deviation: the head table is the profile's (the published one comes from text needles), at KV-head
level; the published code has no grouped-query support.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edge_audiokv.kv import shared
from edge_audiokv.kv.option import option
from edge_audiokv.kv.policies.sparsemm import SparseMM
from edge_audiokv.kv.policy import register


@register
@dataclass(frozen=True)
class HeadKV(SparseMM):
    name: ClassVar[str] = "headkv"
    choose_when: ClassVar[str] = (
        "With a head profile, when few heads carry the hearing and the rest may forget."
    )

    kernel: int = shared.kernel(7)
    pooling: str = shared.pooling("max")
    floor_share: float = option(0.1, "Of no effect here: beta says what every head keeps.", most=1)
    beta: float = option(
        1.5,
        "How evenly heads are treated: 1 leaves all to the head profile, 10 nearly nothing.",
        least=1,
        most=1000,
    )

    def floor(self, mean_rows: float) -> tuple[int, float]:
        return self.window, max(0.0, 1 - 1 / max(self.beta, 1.0))
