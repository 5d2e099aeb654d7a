"""streaming-llm: attention sinks and the most recent rows (Xiao et al., 2309.17453).

Keep the first `n_sinks` tokens of the session and the newest rows of each head. Published defaults:
start 4, recent 512; here "recent" is whatever the budget leaves.
Deviation: the published code re-assigns positions inside the cache; here survivors keep their true
positions, as llama.cpp's K-shift and every other method here do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edge_audiokv.kv.option import option
from edge_audiokv.kv.policy import Policy, Tiers, register
from edge_audiokv.kv.protect import sinks
from edge_audiokv.kv.shape import FloatArray
from edge_audiokv.kv.view import KVView


@register
@dataclass(frozen=True)
class StreamingLLM(Policy):
    name: ClassVar[str] = "streaming-llm"
    choose_when: ClassVar[str] = (
        "When only the last minutes count: it costs next to nothing and forgets all that is older."
    )
    by_layer: ClassVar[bool] = True

    n_sinks: int = option(4, "First rows of the session, never dropped; below 4 text falls apart.")

    def score(self, view: KVView) -> FloatArray:
        return view.positions.astype(np.float32)

    def protect(self, view: KVView) -> Tiers:
        return sinks(view, self.n_sinks)
