"""look-m: all text stays, dropped media rows are merged into kept ones (LOOK-M, 2406.18139; code).

Score = H2O's summed attention; only audio rows compete, text and the recent rows stay as far as the
budget holds them. Published merging averages K and V of every dropped row with its most similar
kept row. Deviation: values only, and only into an adjacent kept audio row (within `reach` frames),
because averaging rotated keys of distant positions destroys them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edge_audiokv.kv.merge import Merge, merge_nearest
from edge_audiokv.kv.modality import is_audio
from edge_audiokv.kv.policies.h2o import H2O
from edge_audiokv.kv.policy import Tiers, register
from edge_audiokv.kv.protect import combine, text
from edge_audiokv.kv.shape import FloatArray, Rows
from edge_audiokv.kv.view import KVView


@register
@dataclass(frozen=True)
class LookM(H2O):
    name: ClassVar[str] = "look-m"
    needs: ClassVar[frozenset[str]] = frozenset({"total", "keys", "values"})

    recent_share: float = 0.1
    text_share: float = 0.8
    threshold: float = 0.0
    reach: int = 2

    def protect(self, view: KVView) -> Tiers:
        return combine(super().protect(view), text(view, self.text_share))

    def merge(self, view: KVView, rows: Rows) -> list[Merge]:
        return merge_audio(view, rows, reach=self.reach, threshold=self.threshold)


def merge_audio(
    view: KVView,
    rows: Rows,
    *,
    reach: int,
    threshold: float,
    weight: FloatArray | None = None,
    heads: np.ndarray | None = None,
) -> list[Merge]:
    """Fold dropped audio rows of every head (or of `heads`, bool [L, H]) into adjacent kept ones.

    `weight` [L, H, T] weighs the rows in the mean, default evenly. See merge.merge_nearest.
    """
    audio, merges = is_audio(view), []
    for layer, head in np.ndindex(*view.counts.shape):
        count, kept = int(view.counts[layer, head]), rows.of(layer, head)
        if kept.size == count or (heads is not None and not heads[layer, head]):
            continue
        changed, values = merge_nearest(
            view.keys(layer, head),
            view.values(layer, head),
            view.positions[layer, head, :count],
            kept,
            audio[layer, head, :count],
            reach=reach,
            threshold=threshold,
            weight=None if weight is None else weight[layer, head, :count],
        )
        if changed.size:
            merges.append(Merge(layer, head, changed, values))
    return merges
