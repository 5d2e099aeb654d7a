"""Policies that merge: values of dropped audio rows go into kept neighbours (see merge.py)."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_audiokv.kv.merge import Merge, merge_nearest
from edge_audiokv.kv.modality import is_audio
from edge_audiokv.kv.option import option
from edge_audiokv.kv.policy import Policy
from edge_audiokv.kv.shape import FloatArray, Rows
from edge_audiokv.kv.view import KVView


@dataclass(frozen=True)
class Merging(Policy, ABC):
    """Folds each dropped audio row into a kept one at most `reach` frames away, if the cosine of
    their keys is at least `threshold`.
    """

    threshold: float = option(
        0.0,
        "Least cosine of two keys for a dropped row to be merged into its neighbour; 0 merges "
        "all that are near.",
        most=1,
    )
    reach: int = option(
        2,
        "Frames of sound between a dropped row and the neighbour that it may be merged into; 0 "
        "merges nothing.",
        most=1000,
    )

    def merge(self, view: KVView, rows: Rows) -> list[Merge]:
        return self.fold(view, rows)

    def fold(
        self,
        view: KVView,
        rows: Rows,
        *,
        weight: FloatArray | None = None,
        heads: NDArray[np.bool_] | None = None,
    ) -> list[Merge]:
        """The merges of every head (or of `heads` [L, H]); `weight` [L, H, T] weighs the rows in
        the mean, default evenly.
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
                reach=self.reach,
                threshold=self.threshold,
                weight=None if weight is None else weight[layer, head, :count],
            )
            if changed.size:
                merges.append(Merge(layer, head, changed, values))
        return merges
