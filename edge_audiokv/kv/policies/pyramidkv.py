"""pyramidkv: SnapKV scores, layer budgets that fall linearly with depth (2406.02069; published
code).

Least budget (C - w) / beta in the last layer, most 2 (C - w) - least in the first, plus the window;
beta 20, window 32, mean pooling 5. Where rows are too few the published code falls back to SnapKV;
here the surplus of full layers is water-filled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edge_audiokv.kv.budget import pyramid
from edge_audiokv.kv.option import option
from edge_audiokv.kv.policies.snapkv import SnapKV
from edge_audiokv.kv.policy import register
from edge_audiokv.kv.shape import FloatArray, KVShape
from edge_audiokv.kv.view import KVView


@register
@dataclass(frozen=True)
class PyramidKV(SnapKV):
    name: ClassVar[str] = "pyramidkv"
    choose_when: ClassVar[str] = (
        "When the first layers need more than the last, as in models of text; compare with snapkv."
    )

    beta: float = option(
        20.0,
        "How steeply budgets fall from the first layer to the last: 1 is even, 20 steep.",
        least=1,
        most=1000,
    )

    def weights(self, shape: KVShape, view: KVView | None = None) -> FloatArray | None:
        return pyramid(shape.n_layer, shape.n_kv_head, beta=max(self.beta, 1.0))

    def floor(self, mean_rows: float) -> tuple[int, float]:
        return self.window, 0.0
