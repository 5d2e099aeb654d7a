"""keydiff: keep keys that differ from the mean key; no attention needed (2504.15364; published
code).

Score = -cos(k, mean of the head's unit keys), over all rows, as stored (rotated). Optional window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edge_audiokv.kv.option import option
from edge_audiokv.kv.policy import Policy, Tiers, register
from edge_audiokv.kv.protect import window
from edge_audiokv.kv.shape import FloatArray
from edge_audiokv.kv.view import KVView


@register
@dataclass(frozen=True)
class KeyDiff(Policy):
    name: ClassVar[str] = "keydiff"
    choose_when: ClassVar[str] = (
        "Where no attention can be had, or none should be trusted: it judges rows by their keys "
        "alone."
    )
    needs: ClassVar[frozenset[str]] = frozenset({"keys"})

    window: int = option(0, "The newest rows, always kept; 0 lets keys alone decide.")

    def score(self, view: KVView) -> FloatArray:
        out = np.zeros(view.positions.shape, np.float32)
        for layer, head in np.ndindex(*view.counts.shape):
            keys = view.keys(layer, head)
            unit = keys / np.maximum(np.linalg.norm(keys, axis=1, keepdims=True), 1e-12)
            anchor = unit.mean(axis=0)
            out[layer, head, : len(keys)] = -unit @ (anchor / max(np.linalg.norm(anchor), 1e-12))
        return out

    def protect(self, view: KVView) -> Tiers:
        return window(view, self.window)
