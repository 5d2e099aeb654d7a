"""d2o: heavy hitters with sinks, layer budgets by attention variance, gated merging (D2O,
2406.13035).

Score = H2O's sums; the first 4 rows are never dropped. Layers whose attention varies more along the
rows are denser in few rows and get less; the first two layers and the last keep the mean. A dropped
row is merged only if its cosine to the kept one reaches a threshold (published: an EMA of the mean
cosine, 0.3 old and 0.7 new; here fixed at 0.7). Values only, adjacent audio rows only (see
merge.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edge_audiokv.kv import shared
from edge_audiokv.kv.merging import Merging
from edge_audiokv.kv.modality import normalised
from edge_audiokv.kv.policies.h2o import H2O
from edge_audiokv.kv.policy import Tiers, register
from edge_audiokv.kv.protect import combine, sinks
from edge_audiokv.kv.shape import FloatArray, KVShape
from edge_audiokv.kv.view import KVView


@register
@dataclass(frozen=True)
class D2O(Merging, H2O):
    name: ClassVar[str] = "d2o"
    choose_when: ClassVar[str] = (
        "For long text with few important rows; values of dropped sound are kept in part."
    )
    needs: ClassVar[frozenset[str]] = frozenset({"total", "keys", "values"})

    n_sinks: int = shared.n_sinks(4)
    recent_share: float = shared.recent_share(0.25)
    threshold: float = shared.threshold(0.7)

    def protect(self, view: KVView) -> Tiers:
        return combine(super().protect(view), sinks(view, self.n_sinks))

    def weights(self, shape: KVShape, view: KVView | None = None) -> FloatArray | None:
        if view is None or view.n_rows == 0:
            return None
        share = normalised(self.score(view), view.valid) * view.counts[..., None]
        spread = np.where(view.valid, (share - 1) ** 2, 0).sum(2) / np.maximum(view.counts, 1)
        layer = 1 / np.sqrt(np.maximum(spread.mean(axis=1), 1e-6))
        layer /= layer.mean()
        exempt = [i for i in (0, 1, shape.n_layer - 1) if 0 <= i < shape.n_layer]
        layer[exempt] = 1.0
        return np.repeat(layer[:, None], shape.n_kv_head, axis=1).astype(np.float32)
