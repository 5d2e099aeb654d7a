"""audiokv-edge: the default. AudioKV (2604.06694) made fit for a stream under a hard cap.

Differences from the paper, each with its reason:
- Scores are a decayed mean over text queries (the question and generated tokens, `ema`), because
  attention at prefill predicts attention while decoding badly on long audio; rows that no text
  query has seen yet take their head's mean (grace), so new audio is neither favoured nor lost.
- Sinks, template text and a recent window are protected: eviction of sinks ends generation at once.
- Budgets: hit ratios say where a head looks, the loss table what the text loses without it; the
  sum of both (each over its maximum, `hit_share` to hits) ranks heads better than either. Over an
  even floor, water-filled to the byte. The smaller the budget, the sharper: weights are raised to
  `temperature` at 40 %, less above, more below (0.5 to 2 times), as measured. No head gets more
  than its share and `reach` of the rest: what ranks last is worth more to the next head.
- SSS runs over audio frames alone, on the time grid, with an AC cut-off and reflected ends.
- Score = attention ** `attention` * novelty ** `novelty` (novelty.py; 1 for text). Most rows of an
  audio encoder say nothing and resemble each other, and no text query is needed to see which; the
  question's attention alone misses a third of what the answer will look at, novelty a sixth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edge_audiokv.kv import shared
from edge_audiokv.kv.option import option
from edge_audiokv.kv.policy import Policy, Tiers, register
from edge_audiokv.kv.profile import HeadProfile
from edge_audiokv.kv.protect import combine, sinks, text, window
from edge_audiokv.kv.shape import FloatArray, KVShape
from edge_audiokv.kv.smoothing import smooth_rows
from edge_audiokv.kv.view import Kind, KVView


@register
@dataclass(frozen=True)
class AudioKVEdge(Policy):
    name: ClassVar[str] = "audiokv-edge"
    choose_when: ClassVar[str] = (
        "For listening, with any budget: it is made for speech that goes on, and the default. "
        "Another one is for comparison, or for a model without a head profile and questions of "
        "one kind."
    )
    by_layer: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"ema", "novelty"})

    n_sinks: int = option(
        4, "First rows of the session, never dropped: without them text falls apart."
    )
    window: int = option(
        64,
        "The newest rows, kept as far as window_share allows. More follows the last words more "
        "closely.",
    )
    window_share: float = option(
        0.25, "Most of the smallest head's budget that the newest rows may take.", most=1
    )
    text_share: float = shared.text_share(0.25, "Raise it for long questions.")
    floor_share: float = shared.floor_share(0.5, "More is safer with another model's profile.")
    temperature: float = option(
        0.5,
        "Power on the head profile at a budget of 40 %, within 0.5 and 2. More sharpens budgets.",
        most=10,
    )
    reach: float = option(
        0.5,
        "How far above its even share a head may grow, of the rest; 0 gives all heads the same.",
        most=1,
    )
    gamma: float = shared.gamma(0.7)
    alpha: float = shared.alpha(0.25)
    taper: float = option(
        0.05, "How gently smoothing ends, as a share of all frequencies; 0 cuts off.", most=1
    )
    novelty: float = option(
        1.0, "Power on how much a row of sound differs from the mean row; 0 leaves it out.", most=10
    )
    attention: float = option(
        0.1,
        "Power on the attention that text paid to a row. Raise it if one question is asked "
        "again and again; 0 leaves it out.",
        most=10,
    )
    text_novelty: float = option(
        0.3,
        "What a row of text counts as, where sound has its novelty. Raise it to remember what "
        "was written.",
        most=2,
    )
    table: str = option(
        "speech", "The table of the head profile that says where heads look: speech, sound or loss."
    )
    loss_table: str = option(
        "loss",
        "The table that says what the text loses without a head; a name that the profile lacks "
        "leaves it out.",
    )
    hit_share: float = option(0.4, "Weight of the first table beside the loss table.", most=1)
    profile: HeadProfile | None = None

    def score(self, view: KVView) -> FloatArray:
        if view.ema is None or view.ema_weight is None:
            return view.attention()
        seen = (view.ema_weight > 0) & view.valid
        n_seen = np.maximum(seen.sum(axis=2, keepdims=True), 1)
        mean = np.where(seen, view.ema, 0.0).sum(axis=2, keepdims=True) / n_seen
        return np.where(seen, view.ema, mean).astype(np.float32)

    def smooth(self, view: KVView, scores: FloatArray) -> FloatArray:
        smooth = smooth_rows(
            scores, view.frames, gamma=self.gamma, alpha=self.alpha, taper=self.taper
        )
        # Ringing below zero would make nothing of rows that carry words.
        paid = np.maximum(smooth, (1 - self.alpha) * scores) ** self.attention
        novelty = np.where(view.kinds == Kind.TEXT, np.float32(self.text_novelty), view.novelty)
        return np.asarray(paid * novelty**self.novelty, np.float32)

    def protect(self, view: KVView) -> Tiers:
        share = int(self.window_share * view.targets.min())
        return combine(
            sinks(view, self.n_sinks),
            text(view, self.text_share),
            window(view, min(self.window, max(1, share))),
        )

    def weights(self, shape: KVShape, view: KVView | None = None) -> FloatArray | None:
        if self.profile is None:
            return None
        self.profile.check(shape)
        hits = self.profile.weights(self.table)
        hits = self.hit_share * hits / max(float(hits.max()), 1e-12)
        if self.loss_table not in self.profile.tables:
            return hits
        loss = self.profile.weights(self.loss_table)
        return hits + (1 - self.hit_share) * loss / max(float(loss.max()), 1e-12)

    def floor(self, mean_rows: float) -> tuple[int, float]:
        return self.n_sinks + 1, self.floor_share

    def ceiling(self, share: float) -> float:
        return share + (1 - share) * self.reach

    def exponent(self, share: float) -> float:
        return min(2.0, max(0.5, self.temperature * 0.4 / max(share, 1e-6)))
