"""snapkv: attention of the last prompt queries, pooled (Li et al., 2404.14469; published code).

score = mean over the last `window` queries of softmax(QK^T), average-pooled `kernel` wide along the
rows; the best rows and the window itself stay. Defaults: window 32, kernel 5, mean pooling (forks
use max, 7). Deviation: scores and rows are per KV head (mean over the query group), not per query
head; KVCache-Factory measured that this is no worse and stores G times less.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edge_audiokv.kv import shared
from edge_audiokv.kv.policy import Policy, Tiers, register
from edge_audiokv.kv.protect import window
from edge_audiokv.kv.shape import FloatArray
from edge_audiokv.kv.smoothing import pool
from edge_audiokv.kv.view import KVView


@register
@dataclass(frozen=True)
class SnapKV(Policy):
    name: ClassVar[str] = "snapkv"
    choose_when: ClassVar[str] = (
        "For one recording and one question at its end; the usual point of comparison."
    )
    needs: ClassVar[frozenset[str]] = frozenset({"scores"})

    window: int = shared.window(
        32, "More follows the sound that was heard last, and leaves less for what came before."
    )
    kernel: int = shared.kernel(5)
    pooling: str = shared.pooling("mean")

    def score(self, view: KVView) -> FloatArray:
        return view.attention()

    def smooth(self, view: KVView, scores: FloatArray) -> FloatArray:
        return pool(scores, self.kernel, mode=self.pooling)

    def protect(self, view: KVView) -> Tiers:
        return window(view, self.window)
