"""headrouter: head-weighted token importance, one set for all heads (HeadRouter, 2604.23717).

Published: token pruning by last-query attention, heads weighted by a profile a task (speech,
sound), blended by Gaussian routing exp(-|s - mu_k|^2 / 2 sigma^2) on the sample's head-selectivity
vector s; 70 % of the tokens stay. The selectivity formula is not public; our reconstruction: s =
each head's share of audio mass held by its top tenth of audio rows, mu_k = profile table k, all of
unit length. Eviction instead of pruning: the set applies to the cache, not to the input. Text
stays (text_share).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edge_audiokv.kv import shared
from edge_audiokv.kv.modality import is_audio, normalised, shared_over_heads
from edge_audiokv.kv.option import option
from edge_audiokv.kv.policy import Policy, Tiers, register
from edge_audiokv.kv.profile import HeadProfile
from edge_audiokv.kv.protect import text
from edge_audiokv.kv.shape import FloatArray
from edge_audiokv.kv.view import KVView


@register
@dataclass(frozen=True)
class HeadRouter(Policy):
    name: ClassVar[str] = "headrouter"
    choose_when: ClassVar[str] = (
        "When speech and other sounds mix and the profile has a table for each."
    )
    needs: ClassVar[frozenset[str]] = frozenset({"scores"})

    sigma: float = option(
        0.5,
        "How close an input must be to a table of the profile to be ruled by it. Less chooses "
        "one table, more blends all.",
        least=0.01,
        most=100,
    )
    text_share: float = shared.text_share(0.5)
    profile: HeadProfile | None = None

    def score(self, view: KVView) -> FloatArray:
        return shared_over_heads(view, view.attention(), self.routed(view), layers=True)

    def routed(self, view: KVView) -> FloatArray | None:
        """Head weights [L, H], the tables blended for this input; None without a profile."""
        if self.profile is None:
            return None
        self.profile.check(view.shape)
        selectivity = _unit(self.selectivity(view))
        tables = list(self.profile.tables.values())
        gates = np.array(
            [
                np.exp(-((selectivity - _unit(table)) ** 2).sum() / (2 * self.sigma**2))
                for table in tables
            ]
        )
        blend = sum(gate * table for gate, table in zip(gates, tables, strict=True))
        return np.asarray(blend / max(gates.sum(), 1e-30), np.float32)

    def selectivity(self, view: KVView) -> FloatArray:
        """Share of a head's audio mass in the top tenth of its audio rows, [L, H]."""
        audio = is_audio(view)
        share = -np.sort(-normalised(view.attention(), audio), axis=2)
        tenth = np.maximum(1, audio.sum(axis=2) // 10)
        best = np.arange(share.shape[2]) < tenth[..., None]
        return np.asarray(np.where(best, share, 0).sum(axis=2), np.float32)

    def protect(self, view: KVView) -> Tiers:
        return text(view, self.text_share)


def _unit(table: FloatArray) -> FloatArray:
    return np.asarray(table / max(float(np.linalg.norm(table)), 1e-12), np.float32)
