"""Does context help or harm? The same clips heard alone, and with minutes of earlier turns in view.

Clips are heard in the manifest's order by `engine.memory.rolling.RollingMemory`, as a session with
`context="rolling"` hears them: earlier sound and the model's own text stay in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from edge_audiokv.audio.files.file import read_all
from edge_audiokv.engine.memory.rolling import MAX_ANSWER_TOKENS, MAX_QUESTION_TOKENS, RollingMemory
from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.eval.long_context import MAX_TURN_TOKENS, LongContext
from edge_audiokv.eval.wer import (
    RESAMPLES,
    ClipScore,
    Hypothesis,
    Utterance,
    WerReport,
    score_clip,
    summarise,
)


@dataclass(frozen=True)
class Comparison:
    """WER of both ways on the clips that had enough context, and the paired difference.

    `rise` is rolling less fresh, with a 95 % bootstrap interval over clips.
    """

    context_s: float
    fresh: WerReport
    rolling: WerReport
    rise: float
    rise_low: float
    rise_high: float


def compare(
    settings: EngineSettings,
    clips: Sequence[Utterance],
    *,
    context_s: float,
    on_clip: Callable[[ClipScore, ClipScore], None] | None = None,
) -> Comparison:
    """Hear all clips both ways; those that begin after `context_s` of sound are scored."""
    fresh, rolled = [], []
    with ExitStack() as stack:
        single_tokens = MAX_TURN_TOKENS + MAX_QUESTION_TOKENS + MAX_ANSWER_TOKENS
        alone = stack.enter_context(LongContext(settings, single_tokens))
        # One runtime, so that what is heard has one vocabulary: under a cap a second one may have
        # no room for a reader.
        runtime = alone.runtime
        long = LongContext(settings, runtime.model.n_ctx_train, runtime=runtime)
        stack.enter_context(long)
        memory = RollingMemory(runtime, long.cache, max_turn_tokens=MAX_TURN_TOKENS)
        single = RollingMemory(runtime, alone.cache, max_turn_tokens=MAX_TURN_TOKENS)
        heard_s = 0.0
        for clip in clips:
            sound = runtime.hear(read_all(clip.path), final=True)
            duration_s = len(sound) / runtime.encoder.tokens_per_second
            rolling = memory.transcribe(sound, duration_s)
            memory.commit(sound.embeddings, rolling, listened=True)
            if heard_s >= context_s:
                alone.cache.clear()
                decoded = single.transcribe(sound, duration_s)
                single.discard()
                fresh.append(score_clip(clip, Hypothesis(decoded.text, decoded.flags)))
                rolled.append(score_clip(clip, Hypothesis(rolling.text, rolling.flags)))
                if on_clip is not None:
                    on_clip(fresh[-1], rolled[-1])
            heard_s += duration_s
    rise, low, high = paired_rise(fresh, rolled)
    return Comparison(
        context_s, summarise("fresh", fresh), summarise("rolling", rolled), rise, low, high
    )


def paired_rise(
    fresh: Sequence[ClipScore], rolled: Sequence[ClipScore], *, seed: int = 0
) -> tuple[float, float, float]:
    """(rise of WER, 95 % interval) with the same clips drawn for both."""
    words = np.array([max(1, score.words) for score in fresh])
    more = np.array([r.edits - f.edits for f, r in zip(fresh, rolled, strict=True)])
    if not len(words):
        return 0.0, 0.0, 0.0
    drawn = np.random.default_rng(seed).integers(0, len(words), (RESAMPLES, len(words)))
    low, high = np.percentile(more[drawn].sum(1) / words[drawn].sum(1), [2.5, 97.5])
    return float(more.sum() / words.sum()), float(low), float(high)
