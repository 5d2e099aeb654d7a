"""flowmm: merging led by cross-modal flow, sensitive rows shielded (FlowMM, 2511.05534).

The paper's equations are not public; this is our reconstruction from a digest. Score = attention of
the proxy tokens (the last prompt tokens). Layers in which those text queries give audio less than
`cross_share` of their mass do not mix modalities yet: there dropped audio rows are merged into
adjacent audio; in the other layers a dropped row is merged only if its sensitivity (its score) is
below its head's median, so that what the question looks at is never blended. Values only (see
merge.py), weighted by sensitivity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edge_audiokv.kv import shared
from edge_audiokv.kv.merge import Merge
from edge_audiokv.kv.merging import Merging
from edge_audiokv.kv.modality import is_audio, mass
from edge_audiokv.kv.option import option
from edge_audiokv.kv.policies.snapkv import SnapKV
from edge_audiokv.kv.policy import register
from edge_audiokv.kv.shape import Rows
from edge_audiokv.kv.view import KVView


@register
@dataclass(frozen=True)
class FlowMM(Merging, SnapKV):
    name: ClassVar[str] = "flowmm"
    choose_when: ClassVar[str] = (
        "To compare with merging led by questions; its equations are a reconstruction."
    )
    needs: ClassVar[frozenset[str]] = frozenset({"scores", "keys", "values"})

    cross_share: float = option(
        0.3,
        "Share of attention on sound above which a layer counts as mixing it with text; what "
        "the question looks at is shielded there.",
        most=1,
    )
    threshold: float = shared.threshold(0.5)

    def merge(self, view: KVView, rows: Rows) -> list[Merge]:
        psi = np.maximum(np.nan_to_num(view.attention(), neginf=0.0), 0)
        audio = is_audio(view)
        whole = mass(psi, view.valid).sum(axis=1)
        cross = mass(psi, audio).sum(axis=1) / np.maximum(whole, 1e-30) >= self.cross_share
        middle = np.median(np.where(view.valid, psi, np.nan)[..., :], axis=2, keepdims=True)
        middle = np.nan_to_num(middle)
        # A weight of zero folds nothing of a shielded row into its neighbour.
        shielded = cross[:, None, None] & (psi > middle)
        kept = np.zeros(psi.shape, bool)
        for layer, head in np.ndindex(*view.counts.shape):
            kept[layer, head, rows.of(layer, head)] = True
        weight = np.where(shielded & ~kept, 0.0, psi + 1e-6).astype(np.float32)
        return self.fold(view, rows, weight=weight)
