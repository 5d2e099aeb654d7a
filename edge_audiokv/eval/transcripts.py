"""Greedy text from a cut cache, as it comes and as the loop guard leaves it, from one decoding.

The guard only looks at tokens, so its verdict on the unguarded text is what it would have done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_audiokv.calibrate.prefilled import Prefilled
from edge_audiokv.engine.decoding.decode import text_of
from edge_audiokv.engine.decoding.guard import LoopGuard
from edge_audiokv.engine.decoding.tags import Tags, tags_of
from edge_audiokv.errors import NativeError
from edge_audiokv.kv.policy import Policy
from edge_audiokv.kv.shape import IntArray


@dataclass(frozen=True)
class Transcript:
    """`raw` ends where the model ends it, or at `max_tokens`; `verdict` is the guard's, or ""."""

    raw: str
    guarded: str
    verdict: str
    n_tokens: int
    kept_rows: int
    full_rows: int


def transcribe(
    start: Prefilled, policy: Policy, targets: IntArray | None, *, max_tokens: int
) -> Transcript:
    """Cut the prompt to `targets` [L, H] (None: keep all) and decode at most `max_tokens`."""
    model, logits = start.parts.model, start.logits
    ids: list[int] = []
    with start.cut(policy, targets, n_text=max_tokens) as context:
        full_rows, kept_rows = int(start.context.counts.sum()), int(context.counts.sum())
        while logits is not None and len(ids) < max_tokens:
            token = int(np.argmax(logits))
            if model.is_end_of_generation(token):
                break
            ids.append(token)
            logits = context.decode_tokens([token])
    if logits is None:
        raise NativeError("llama.cpp gave no logits.")
    kept, verdict = guard(ids, start.clip.audio_s, tags_of(model))
    raw, guarded = (text_of(model, tokens).strip() for tokens in (ids, kept))
    return Transcript(raw, guarded, verdict, len(ids), kept_rows, full_rows)


def guard(ids: Sequence[int], duration_s: float, tags: Tags | None = None) -> tuple[list[int], str]:
    """(what the loop guard leaves of `ids`, its verdict or "")."""
    watcher = LoopGuard(duration_s, tags=tags)
    for token in ids:
        verdict = watcher.push(token)
        if verdict is not None:
            return watcher.clean(), verdict
    return watcher.clean(), ""


def runaway_tokens(duration_s: float) -> int:
    """Where text becomes longer than speech of `duration_s` can be."""
    return LoopGuard(duration_s).max_tokens + 1
