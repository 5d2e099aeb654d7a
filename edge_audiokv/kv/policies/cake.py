"""cake: layer budgets by entropy and temporal variance, token score mean + gamma * variance
(CAKE, 2503.12491; published code).

Layer preference = entropy^(1/t1) * variance^(1/t2) of the window's attention; token score = mean
over the window + gamma * variance over it, mean-pooled 5, mean over the query group; window 32.
Published t1, t2, gamma are tuned a model; defaults here 1, 1, 200.
Mapping: variance over the queries of one window is not visible; it is taken over the scored batches
(prompt parts, decode steps). Preferences become budgets when a context is made (anew) for an input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edge_audiokv.kv.modality import normalised
from edge_audiokv.kv.option import option
from edge_audiokv.kv.policies.snapkv import SnapKV
from edge_audiokv.kv.policy import register
from edge_audiokv.kv.shape import FloatArray, KVShape
from edge_audiokv.kv.view import KVView


@register
@dataclass(frozen=True)
class CAKE(SnapKV):
    name: ClassVar[str] = "cake"
    choose_when: ClassVar[str] = (
        "When layers differ much in what they look at, and the input is one long prompt."
    )
    needs: ClassVar[frozenset[str]] = frozenset({"scores", "variance"})

    gamma: float = option(
        200.0,
        "Weight of a row's varying attention beside its mean. Raise it to keep what only some "
        "questions look at.",
    )
    t1: float = option(
        1.0, "Divides the power of a layer's entropy. More evens layers out.", least=0.01, most=1000
    )
    t2: float = option(
        1.0,
        "Divides the power of a layer's variance. More evens layers out.",
        least=0.01,
        most=1000,
    )

    def score(self, view: KVView) -> FloatArray:
        if view.variance is None:
            return view.attention()
        return view.attention() + np.float32(self.gamma) * view.variance

    def weights(self, shape: KVShape, view: KVView | None = None) -> FloatArray | None:
        if view is None or view.n_rows == 0:
            return None
        share = normalised(view.attention(), view.valid)
        entropy = -(share * np.log(np.maximum(share, 1e-30))).sum(axis=2).mean(axis=1)
        variance = 0.0 if view.variance is None else np.nan_to_num(view.variance).sum(2).mean(1)
        preference = np.maximum(entropy, 1e-9) ** (1 / self.t1)
        preference = preference * np.maximum(variance, 1e-9) ** (1 / self.t2)
        return np.repeat(preference[:, None], shape.n_kv_head, axis=1).astype(np.float32)

    def floor(self, mean_rows: float) -> tuple[int, float]:
        return self.window, 0.0
