"""Loss table, ours: what the reference loses in likelihood when one head alone is cut short.

Hit ratios say where a head looks, not whether the text depends on it. Here each KV head in turn
keeps `low_share` of its rows (chosen by audiokv-edge) while all others keep all; its weight is the
rise of the teacher-forced negative log-likelihood per token, at least 0. (WnW weighs grounding by
gradient sensitivity for the same reason; this needs no gradients, only L * H short decodes a clip.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_audiokv.calibrate.prefilled import Prefilled
from edge_audiokv.kv.policies.audiokv_edge import AudioKVEdge
from edge_audiokv.kv.shape import FloatArray

LOW_SHARE = 0.12


@dataclass
class LossTable:
    """Summed extra loss in nats [L, H] over `n_tokens` reference tokens."""

    total: NDArray[np.float64]
    n_tokens: int = 0
    n_clips: int = 0
    seen: list[str] = field(default_factory=list)

    @classmethod
    def empty(cls, n_layer: int, n_kv_head: int) -> LossTable:
        return cls(np.zeros((n_layer, n_kv_head)))

    @property
    def mean(self) -> FloatArray:
        """Extra nats per token, float32 [L, H], at least 0."""
        return np.maximum(self.total / max(1, self.n_tokens), 0).astype(np.float32)


def measure_loss(
    start: Prefilled,
    table: LossTable,
    *,
    low_share: float = LOW_SHARE,
    each: Callable[[], None] = lambda: None,
) -> None:
    """Add one clip to `table`; `each` is called after every head."""
    policy = AudioKVEdge()
    counts = start.context.counts
    whole = start.loss(policy, None)
    extra = np.zeros(counts.shape)
    for layer, head in np.ndindex(*counts.shape):
        targets = counts.copy()
        targets[layer, head] = max(policy.n_sinks + 1, int(low_share * start.n_rows))
        extra[layer, head] = start.loss(policy, targets).nll - whole.nll
        each()
    table.total += extra
    table.n_tokens += whole.n_tokens
    table.n_clips += 1
    table.seen.append(start.clip.id)
