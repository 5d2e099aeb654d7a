"""look-m: all text stays, dropped media rows are merged into kept ones (LOOK-M, 2406.18139; code).

Score = H2O's summed attention; only audio rows compete, text and the recent rows stay as far as the
budget holds them. Published merging averages K and V of every dropped row with its most similar
kept row. Deviation: values only, and only into an adjacent kept audio row (within `reach` frames),
because averaging rotated keys of distant positions destroys them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edge_audiokv.kv import shared
from edge_audiokv.kv.merging import Merging
from edge_audiokv.kv.policies.h2o import H2O
from edge_audiokv.kv.policy import Tiers, register
from edge_audiokv.kv.protect import combine, text
from edge_audiokv.kv.view import KVView


@register
@dataclass(frozen=True)
class LookM(Merging, H2O):
    name: ClassVar[str] = "look-m"
    choose_when: ClassVar[str] = "When text must not be lost and sound may be blended."
    needs: ClassVar[frozenset[str]] = frozenset({"total", "keys", "values"})

    recent_share: float = shared.recent_share(0.1)
    text_share: float = shared.text_share(0.8)

    def protect(self, view: KVView) -> Tiers:
        return combine(super().protect(view), text(view, self.text_share))
