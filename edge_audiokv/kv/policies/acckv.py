"""acckv: focus on one modality a layer, calibrate the other on it (AccKV, 2511.11106).

The paper's formulas are not public; this is our reconstruction from its abstract. Per layer the
modality with more attention mass from the last prompt tokens leads. Each gets its share of the
budget by mass; rows of the leading one rank by attention, rows of the other by attention times
their highest key cosine to the leader's best rows. Dropped rows are merged into neighbours of the
same modality first (values only; keys are rotated and must not be averaged).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edge_audiokv.kv import shared
from edge_audiokv.kv.merging import Merging
from edge_audiokv.kv.modality import by_quota, is_audio, mass
from edge_audiokv.kv.option import option
from edge_audiokv.kv.policy import register
from edge_audiokv.kv.shape import FloatArray
from edge_audiokv.kv.view import KVView


@register
@dataclass(frozen=True)
class AccKV(Merging):
    name: ClassVar[str] = "acckv"
    choose_when: ClassVar[str] = (
        "To compare with merging by modality; its formulas are a reconstruction."
    )
    needs: ClassVar[frozenset[str]] = frozenset({"scores", "keys", "values"})

    n_anchors: int = option(
        32,
        "Best rows of the leading modality that rows of the other are compared with. Fewer is "
        "stricter and faster.",
        least=1,
    )
    threshold: float = shared.threshold(0.8)

    def score(self, view: KVView) -> FloatArray:
        psi, audio = np.nan_to_num(view.attention(), neginf=0.0), is_audio(view)
        spoken = mass(psi, audio).sum(axis=1)
        written = mass(psi, ~audio & view.valid).sum(axis=1)
        out = psi.copy()
        for layer, head in np.ndindex(*view.counts.shape):
            count = int(view.counts[layer, head])
            if count == 0:
                continue
            leads = audio[layer, head, :count] == (spoken[layer] >= written[layer])
            if not leads.any() or leads.all():
                continue
            keys = view.keys(layer, head)
            unit = keys / np.maximum(np.linalg.norm(keys, axis=1, keepdims=True), 1e-12)
            leaders = np.flatnonzero(leads)
            best = leaders[np.argsort(-psi[layer, head, leaders], kind="stable")[: self.n_anchors]]
            alike = (unit[~leads] @ unit[best].T).max(axis=1)
            out[layer, head, np.flatnonzero(~leads)] *= 0.5 + 0.5 * alike
        share = spoken / np.maximum(spoken + written, 1e-30)
        return by_quota(view, out, np.broadcast_to(share[:, None], view.counts.shape))
