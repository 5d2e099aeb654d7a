"""madakv: budgets by modality, head by head, with layer compensation (MadaKV, 2506.15724).

Importance psi of a row = attention from proxy tokens (the last prompt tokens). Each head splits its
budget between audio and text by their summed psi and keeps the best of each. Layer compensation: a
layer needs as many rows as cover `coverage` of the mass. Formulas from digests of the paper;
coverage and the number of proxies are not published: 0.9 and the scored window are our
reconstruction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edge_audiokv.kv.modality import by_quota, is_audio, mass, normalised
from edge_audiokv.kv.option import option
from edge_audiokv.kv.policy import Policy, register
from edge_audiokv.kv.shape import FloatArray, KVShape
from edge_audiokv.kv.view import KVView


@register
@dataclass(frozen=True)
class MadaKV(Policy):
    name: ClassVar[str] = "madakv"
    choose_when: ClassVar[str] = (
        "When some heads read text and others hear, and no profile says which."
    )
    needs: ClassVar[frozenset[str]] = frozenset({"scores"})

    coverage: float = option(
        0.9,
        "Share of a layer's attention that its budget should cover. Less favours layers that "
        "look at few rows.",
        least=0.01,
        most=1,
    )

    def score(self, view: KVView) -> FloatArray:
        psi, audio = view.attention(), is_audio(view)
        spoken, written = mass(psi, audio), mass(psi, ~audio & view.valid)
        share = np.clip(spoken / np.maximum(spoken + written, 1e-30), 0, 1)
        return by_quota(view, psi, share)

    def weights(self, shape: KVShape, view: KVView | None = None) -> FloatArray | None:
        if view is None or view.n_rows == 0:
            return None
        ordered = -np.sort(-normalised(view.attention(), view.valid), axis=2)
        needed = (np.cumsum(ordered, axis=2) < self.coverage).sum(axis=2) + 1
        layer = needed.mean(axis=1, keepdims=True)
        return np.repeat(layer, shape.n_kv_head, axis=1).astype(np.float32)
