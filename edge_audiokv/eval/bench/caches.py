"""The two caches that are compared, of one size, filled and emptied alike."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_audiokv.engine.cache import MAX_LEVELS, HeadCache, cache_over
from edge_audiokv.eval.bench.alone import Tell
from edge_audiokv.eval.bench.plan import BATCH_TOKENS, QUESTION_TOKENS
from edge_audiokv.kv.budget import apart
from edge_audiokv.kv.controller import Controller
from edge_audiokv.kv.memory import peak_rss_bytes
from edge_audiokv.kv.novelty import Novelty
from edge_audiokv.kv.policy import Policy
from edge_audiokv.kv.shape import FloatArray, IntArray, KVShape
from edge_audiokv.kv.view import Kind
from edge_audiokv.native.context import HeadwiseContext
from edge_audiokv.native.model import Model
from edge_audiokv.native.stock import StockContext


@dataclass(frozen=True)
class Setting:
    """A model's file, types of rows and threads, which both caches share."""

    path: Path
    type_k: str
    type_v: str
    n_threads: int


@dataclass(frozen=True)
class Prompt:
    """Rows as sound makes them, float32 [T, n_embd], and a question: the time does not depend on
    what they say.
    """

    embeddings: FloatArray
    question: IntArray
    answer: IntArray

    @classmethod
    def of(cls, model: Model, n_prompt: int, n_gen: int) -> Prompt:
        rng = np.random.default_rng(0)
        size = (n_prompt - QUESTION_TOKENS, model.n_embd)
        ids = rng.integers(0, model.n_vocab, QUESTION_TOKENS + n_gen).astype(np.int32)
        embeddings = rng.standard_normal(size, np.float32)
        return cls(embeddings, ids[:QUESTION_TOKENS], ids[QUESTION_TOKENS:])

    def batches(self) -> list[FloatArray]:
        """The sound, a micro-batch at a time."""
        starts = range(0, len(self.embeddings), BATCH_TOKENS)
        return [self.embeddings[start : start + BATCH_TOKENS] for start in starts]


def open_stock(setting: Setting, n_rows: int) -> StockContext:
    """llama.cpp's own cache, over weights of its own."""
    return StockContext(
        setting.path,
        n_rows,
        type_k=setting.type_k,
        type_v=setting.type_v,
        n_batch=BATCH_TOKENS,
        n_threads=setting.n_threads,
    ).load()


def open_ours(
    model: Model, setting: Setting, policy: Policy, capacity: IntArray, share: float = 1.0
) -> HeadCache:
    """The engine's cache, with room for `capacity` [L, H] rows."""
    context = HeadwiseContext(
        model,
        capacity,
        type_k=setting.type_k,
        type_v=setting.type_v,
        n_batch=BATCH_TOKENS,
        max_levels=MAX_LEVELS,
        score_window=QUESTION_TOKENS,
        n_threads=setting.n_threads,
    ).load()
    return cache_over(context, policy, share=share)


def kept_rows(policy: Policy, shape: KVShape, n_prompt: int, share: float) -> IntArray:
    """Rows that each head keeps of a prompt, int32 [L, H]."""
    if share >= 1:
        return np.full((shape.n_layer, shape.n_kv_head), n_prompt, np.int32)
    total = max(shape.n_head, int(share * n_prompt * shape.n_head))
    return policy.budgets(total, shape, n_prompt)


def whole_capacity(kept: IntArray, n_prompt: int, n_room: int) -> IntArray:
    """Rows [L, H] for a prompt that is read whole and then cut to `kept`, as `transcribe` does."""
    return apart(kept, np.maximum(n_prompt, kept) + n_room)


@dataclass(frozen=True)
class Read:
    """A prompt that was read: the saved rows, and the attention of its question [L, H, T]."""

    state: bytes
    scores: FloatArray
    counts: IntArray

    @classmethod
    def of(cls, cache: HeadCache) -> Read:
        context = cache.context
        return cls(context.save_state(), context.scores(), context.counts)

    def put_into(self, cache: HeadCache, prompt: Prompt) -> HeadCache:
        """The same context with these rows, and a controller that has seen them come."""
        context = cache.context
        context.clear()
        context.load_state(self.state)
        controller = Controller(cache.controller.policy, context.shape, context.capacity)
        meter = Novelty() if controller.uses_novelty else None
        for part in prompt.batches():
            controller.appended(
                Kind.AUDIO, len(part), novelty=None if meter is None else meter.measure(part)
            )
        controller.appended(Kind.PROMPT, len(prompt.question))
        if controller.uses_scores:
            controller.observe_scores(self.scores, self.counts, n_queries=len(prompt.question))
        return HeadCache(context, controller, share=cache.share)


@dataclass(frozen=True)
class Footprint:
    """Bytes of the pools, and of a process that holds weights and cache and nothing else."""

    kv_bytes: int
    peak_rss_bytes: int


def stock_footprint(setting: Setting, n_rows: int, tell: Tell) -> Footprint:
    """For `alone`; the bytes of the pools are the caller's to know."""
    with open_stock(setting, n_rows) as stock:
        stock.decode(np.zeros(BATCH_TOKENS, np.int32))
        stock.decode(np.zeros(1, np.int32))
        return Footprint(0, peak_rss_bytes())


def our_footprint(
    setting: Setting, policy: Policy, kept: IntArray, n_room: int, tell: Tell
) -> Footprint:
    """A cache that holds `kept` [L, H] rows and no more, as a session's does. For `alone`."""
    with Model(setting.path) as model:
        cache = open_ours(model, setting, policy, apart(kept, kept + n_room))
        cache.warm_up()
        found = Footprint(cache.context.pool_nbytes, peak_rss_bytes())
        cache.close()
        return found
