"""murmur: sinks and a sliding window over speech; attention-free (Murmur, 2606.01483; published
code).

The first `n_sinks` rows, all text that fits and the newest speech stay; the oldest speech goes
first, as transcription moves on. Published: 32 speech sinks, window 512 speech tokens, sliding by
8 a step once 32 tokens are decoded, chosen layers only; here the window is what the budget leaves,
in all layers, and slides when a head is full.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edge_audiokv.kv import shared
from edge_audiokv.kv.option import option
from edge_audiokv.kv.policy import Policy, Tiers, register
from edge_audiokv.kv.protect import combine, sinks, text
from edge_audiokv.kv.shape import FloatArray
from edge_audiokv.kv.view import KVView


@register
@dataclass(frozen=True)
class Murmur(Policy):
    name: ClassVar[str] = "murmur"
    choose_when: ClassVar[str] = (
        "For transcription alone, where the oldest speech is of no more use; it costs next to "
        "nothing."
    )

    n_sinks: int = shared.n_sinks(32)
    sink_share: float = option(
        0.5, "Most of the smallest head's budget that those may take.", most=1
    )
    text_share: float = shared.text_share(0.5)

    def score(self, view: KVView) -> FloatArray:
        return view.positions.astype(np.float32)

    def protect(self, view: KVView) -> Tiers:
        n_sinks = min(self.n_sinks, int(self.sink_share * view.targets.min()))
        return combine(sinks(view, n_sinks), text(view, self.text_share))
