"""tova: drop what the last query attends to least, one set for all heads of a layer (2401.06104;
code).

Score = the last query's attention, mean over the layer's heads; no window, no sinks.
Mapping: the "last query" is the last scored batch: one token while decoding, the question's tokens
(averaged) right after a prompt. With ragged budgets every head takes its number of the same
ranking.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edge_audiokv.kv.modality import shared_over_heads
from edge_audiokv.kv.policy import Policy, register
from edge_audiokv.kv.shape import FloatArray
from edge_audiokv.kv.view import KVView


@register
@dataclass(frozen=True)
class TOVA(Policy):
    name: ClassVar[str] = "tova"
    choose_when: ClassVar[str] = (
        "For the simplest choice by attention, without window or sinks; a point of comparison."
    )
    needs: ClassVar[frozenset[str]] = frozenset({"scores"})
    n_window: ClassVar[int] = 1

    def score(self, view: KVView) -> FloatArray:
        return shared_over_heads(view, view.attention())
