"""headkv: static budgets from retrieval heads (HeadKV, 2410.19258; published code).

Every head keeps base - base/beta rows; the pool (base/beta) * L * H goes by head score. Scores are
SnapKV's with max pooling 7, window 32. Published beta 1.005 to 10; default here 1.5.
Deviation: the head table is the profile's (the published one comes from text needles), at KV-head
level; the published code has no grouped-query support.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edge_audiokv.kv.policies.sparsemm import SparseMM
from edge_audiokv.kv.policy import register


@register
@dataclass(frozen=True)
class HeadKV(SparseMM):
    name: ClassVar[str] = "headkv"

    kernel: int = 7
    pooling: str = "max"
    beta: float = 1.5

    def floor(self, mean_rows: float) -> tuple[int, float]:
        return self.window, max(0.0, 1 - 1 / max(self.beta, 1.0))
