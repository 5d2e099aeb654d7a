"""purekv: attention of a few probe layers times each layer's own value norm (PureKV, 2510.25600).

Published idea: attention of a low layer ranks the rows of higher ones once multiplied by their
value norms, so that all other layers keep their fused kernels. Which layers and which
normalisation is not public; our reconstruction: `n_probes` evenly spaced layers, each layer uses
the nearest probe at or below it, mean over the probe's heads, times ||v|| of the row itself.
Window 32 stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edge_audiokv.kv import shared
from edge_audiokv.kv.modality import norms, shared_over_heads
from edge_audiokv.kv.option import option
from edge_audiokv.kv.policy import Policy, Tiers, register
from edge_audiokv.kv.protect import window
from edge_audiokv.kv.shape import FloatArray
from edge_audiokv.kv.view import KVView


@register
@dataclass(frozen=True)
class PureKV(Policy):
    name: ClassVar[str] = "purekv"
    choose_when: ClassVar[str] = (
        "When scoring every layer costs too much: a few layers speak for all."
    )
    needs: ClassVar[frozenset[str]] = frozenset({"scores", "values"})

    n_probes: int = option(
        4,
        "Layers whose attention is asked, evenly spaced. More follows each layer more closely.",
        least=1,
        most=1000,
    )
    window: int = shared.window(32)

    def score(self, view: KVView) -> FloatArray:
        n_layer = view.positions.shape[0]
        spaced = np.linspace(0, n_layer, max(1, self.n_probes), endpoint=False)
        probes = np.unique(spaced.astype(int))
        shared = shared_over_heads(view, view.attention())
        n_positions = max(view.kind_of.size, int(view.positions.max(initial=0)) + 1)
        table = np.zeros((probes.size, n_positions), np.float32)
        for i, layer in enumerate(probes):
            valid = view.valid[layer]
            table[i, view.positions[layer][valid]] = shared[layer][valid]
        owner = np.searchsorted(probes, np.arange(n_layer), side="right") - 1
        attention = table[owner[:, None, None], np.maximum(view.positions, 0)]
        return np.where(view.valid, attention, 0).astype(np.float32) * norms(view, view.values)

    def protect(self, view: KVView) -> Tiers:
        return window(view, self.window)
