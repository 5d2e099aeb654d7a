"""Audio-critical heads: how often a head looks at the sound of the word that is being written.

Published (AudioKV, 2604.06694): for each generated token aligned to a confident word, r = share of
the head's top-24 attended positions that lie in the word's audio span; the head's score is the
mean of r over all aligned steps; query heads are summed into KV heads.
Ours: the native layer gives attention per KV head, averaged over its query group, so the top 24 are
those of the group's mean. The step that is judged is the one whose logits predict the token. Tokens
are the reference's (teacher-forced), so that a young model's loops do not enter the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_audiokv.calibrate.alignment import align_tokens, span
from edge_audiokv.calibrate.parts import Parts
from edge_audiokv.calibrate.prefilled import Clip, Prefilled
from edge_audiokv.engine.decoding.decode import pieces_of
from edge_audiokv.events import Word
from edge_audiokv.kv.shape import FloatArray, IntArray

TOP_K = 24
MIN_CONFIDENCE = 0.95


def hit_ratio(
    scores: FloatArray, positions: IntArray, first: int, last: int, *, k: int = TOP_K
) -> FloatArray:
    """Share of each head's `k` most attended positions in [first, last], float32 [L, H].

    scores, positions [L, H, T]; all positions compete, text and sinks too. With fewer than `k`
    rows the divisor stays `k`, as published.
    """
    n_rows = scores.shape[2]
    top = np.argpartition(-scores, min(k, n_rows) - 1, axis=2)[..., : min(k, n_rows)]
    at = np.take_along_axis(positions, top, axis=2)
    inside = (at >= first) & (at <= last)
    return np.asarray(inside.sum(axis=2) / k, np.float32)


@dataclass
class HitTable:
    """Running mean of hit ratios, [L, H]."""

    total: NDArray[np.float64]
    n_steps: int = 0
    n_clips: int = 0
    seen: list[str] = field(default_factory=list)

    @classmethod
    def empty(cls, n_layer: int, n_kv_head: int) -> HitTable:
        return cls(np.zeros((n_layer, n_kv_head)))

    @property
    def mean(self) -> FloatArray:
        """S_hit, float32 [L, H]; zeros before the first step."""
        return (self.total / max(1, self.n_steps)).astype(np.float32)

    def add(self, ratio: FloatArray) -> None:
        self.total += ratio
        self.n_steps += 1


def count_hits(
    parts: Parts,
    clip: Clip,
    words: Sequence[Word],
    table: HitTable,
    *,
    min_confidence: float = MIN_CONFIDENCE,
    n_threads: int = 1,
) -> int:
    """Read `clip`, write its reference token by token, add each aligned step to `table`.

    Returns the steps that were added: those of tokens of words of at least `min_confidence`.
    """
    owner = align_tokens(pieces_of(parts.model, clip.ids), words)
    n_audio, base = len(clip.embeddings), len(parts.before)
    added = 0
    with Prefilled(parts, clip, n_threads=n_threads, n_text=len(clip.ids)) as start:
        context = start.context
        # The prompt's last token predicts the first token; its own row was scored in a window.
        for token, word in zip(clip.ids[:-1], owner[1:], strict=True):
            wanted = word is not None and words[word].confidence >= min_confidence
            context.decode_tokens([token], logits=False, score=wanted)
            if word is None or not wanted:
                continue
            first, last = span(words[word], clip.audio_s, n_audio)
            ratio = hit_ratio(context.scores(), context.positions(), base + first, base + last)
            table.add(ratio)
            added += 1
    table.n_clips += 1
    table.seen.append(clip.id)
    return added
