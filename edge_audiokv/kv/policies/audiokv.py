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

from edge_audiokv.kv.option import option
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

    window: int = option(32, "The newest rows, always kept.")
    floor_share: float = option(
        0.5,
        "Share of the mean budget that every head keeps. More is safer where the head profile "
        "is doubted.",
        most=1,
    )
    gamma: float = option(
        0.7,
        "Share of a score's energy that smoothing keeps. Less smooths more, and keeps longer "
        "stretches.",
        most=1,
    )
    alpha: float = option(
        0.5, "How much the smoothed score counts beside the raw one; 0 does not smooth.", most=1
    )
    table: str = option(
        "speech", "The table of the head profile that ranks heads: speech, sound or loss."
    )
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
