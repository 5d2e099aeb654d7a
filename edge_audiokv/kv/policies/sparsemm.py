"""sparsemm: SnapKV scores with static head budgets (SparseMM, 2506.05344; published code).

Budget of a head = window + `floor_share` of the rest evenly + the remainder by head score summed
over the query group. Published: window 32, floor 10 % ("ratio 0.1"), mean pooling 5, head scores
from OCR of images; here the profile's table (speech hit ratios), since the cache holds audio.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edge_audiokv.kv import shared
from edge_audiokv.kv.policies.snapkv import SnapKV
from edge_audiokv.kv.policy import register
from edge_audiokv.kv.profile import HeadProfile
from edge_audiokv.kv.shape import FloatArray, KVShape
from edge_audiokv.kv.view import KVView


@register
@dataclass(frozen=True)
class SparseMM(SnapKV):
    name: ClassVar[str] = "sparsemm"
    choose_when: ClassVar[str] = (
        "With a head profile, and one recording and one question at its end."
    )

    floor_share: float = shared.floor_share(0.1, "More evens heads out.")
    table: str = shared.table("speech")
    profile: HeadProfile | None = None

    def weights(self, shape: KVShape, view: KVView | None = None) -> FloatArray | None:
        if self.profile is None:
            return None
        self.profile.check(shape)
        return self.profile.weights(self.table)

    def floor(self, mean_rows: float) -> tuple[int, float]:
        return self.window, self.floor_share
