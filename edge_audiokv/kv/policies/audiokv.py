"""audiokv: budgets by audio-critical heads and spectral score smoothing, as published (2604.06694).

Budget of a head = window + r * mean + share of the rest by its hit ratio (eq 1, as SparseMM's code
does it; eq 12 alone has no floor). Score = mean attention of the last `window` prompt queries, mean
over the query group, smoothed by SSS in paper mode (eq 16-17: circular, DC counted, alpha mix) over
the rows before the window; the window stays. Nothing else is protected: not the sinks, not the
text. Defaults: window 32, r 0.5, gamma 0.7, alpha 0.5.
Deviations: budgets are rounded to the native layer's levels and the surplus of full heads is
water-filled, so that equal bytes are compared. Without a profile all heads weigh the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edge_audiokv.kv import shared
from edge_audiokv.kv.policy import Policy, Tiers, register
from edge_audiokv.kv.profile import HeadProfile
from edge_audiokv.kv.protect import window
from edge_audiokv.kv.shape import FloatArray, KVShape
from edge_audiokv.kv.smoothing import smooth_paper
from edge_audiokv.kv.view import KVView


@register
@dataclass(frozen=True)
class AudioKV(Policy):
    name: ClassVar[str] = "audiokv"
    choose_when: ClassVar[str] = "To compare with the paper: the default grew from it."
    needs: ClassVar[frozenset[str]] = frozenset({"scores"})

    window: int = shared.window(32)
    floor_share: float = shared.floor_share(0.5, "More is safer where the head profile is doubted.")
    gamma: float = shared.gamma(0.7)
    alpha: float = shared.alpha(0.5)
    table: str = shared.table("speech")
    profile: HeadProfile | None = None

    def score(self, view: KVView) -> FloatArray:
        return view.attention()

    def smooth(self, view: KVView, scores: FloatArray) -> FloatArray:
        # Heads of equal count share one transform length; lockstep leaves at most 8 of them.
        out = scores.copy()
        for count in np.unique(view.counts):
            before = max(0, int(count) - self.window)
            heads = np.nonzero(view.counts == count)
            part = scores[heads][:, :before]
            smoothed = smooth_paper(part, gamma=self.gamma, alpha=self.alpha)
            whole = scores[heads]
            whole[:, :before] = smoothed
            out[heads] = whole
        return out

    def protect(self, view: KVView) -> Tiers:
        return window(view, self.window)

    def weights(self, shape: KVShape, view: KVView | None = None) -> FloatArray | None:
        if self.profile is None:
            return None
        self.profile.check(shape)
        return self.profile.weights(self.table)

    def floor(self, mean_rows: float) -> tuple[int, float]:
        return self.window, self.floor_share
