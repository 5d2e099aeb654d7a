"""morphkv: constant cache while decoding, by the last rows' attention (MorphKV, 2503.00979; code).

Keep the last W rows and the best by sum (or max) of attention from the last W queries, reduced over
the query group; evicted in bursts. W 32; the controller's low water mark is the burst.
Mapping: the sum over the last W scored queries; "max" fusion needs single rows, which are not kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edge_audiokv.kv import shared
from edge_audiokv.kv.policy import Policy, Tiers, register
from edge_audiokv.kv.protect import window
from edge_audiokv.kv.shape import FloatArray
from edge_audiokv.kv.view import KVView


@register
@dataclass(frozen=True)
class MorphKV(Policy):
    name: ClassVar[str] = "morphkv"
    choose_when: ClassVar[str] = (
        "For long answers from a small cache: it follows the last rows as they are written."
    )
    needs: ClassVar[frozenset[str]] = frozenset({"scores"})

    window: int = shared.window(32)

    def score(self, view: KVView) -> FloatArray:
        return view.attention()

    def protect(self, view: KVView) -> Tiers:
        return window(view, self.window)
