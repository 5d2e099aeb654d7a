"""expected-attention: expected future attention times value norm (Devoto et al., kvpress;
2510.00636).

Published: softmax(mu K / sqrt(d) + K Sigma K / 2d) with the Gaussian of pre-rotary queries,
rotated to the mean of the next 512 positions, mean over the query group, times the value norm; 4
sinks stay. Mapping: pre-rotary queries are not visible natively, so the expectation is the decayed
mean of the attention that text queries really paid (`ema`); the rest, (expected + epsilon) *
||v||, is as published. Our reconstruction, not the paper's estimator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edge_audiokv.kv import shared
from edge_audiokv.kv.modality import norms
from edge_audiokv.kv.option import option
from edge_audiokv.kv.policy import Policy, Tiers, register
from edge_audiokv.kv.protect import sinks
from edge_audiokv.kv.shape import FloatArray
from edge_audiokv.kv.view import KVView


@register
@dataclass(frozen=True)
class ExpectedAttention(Policy):
    name: ClassVar[str] = "expected-attention"
    choose_when: ClassVar[str] = (
        "When values, not attention alone, should decide; a middle way that needs no profile."
    )
    needs: ClassVar[frozenset[str]] = frozenset({"ema", "values"})

    n_sinks: int = shared.n_sinks(4)
    epsilon: float = option(
        0.0,
        "Attention that every row is given beforehand. Raise it to let large values count, "
        "however little was looked at them.",
        most=1,
    )

    def score(self, view: KVView) -> FloatArray:
        expected = view.attention() if view.ema is None else view.ema
        with np.errstate(invalid="ignore"):
            return (expected + np.float32(self.epsilon)) * norms(view, view.values)

    def protect(self, view: KVView) -> Tiers:
        return sinks(view, self.n_sinks)
