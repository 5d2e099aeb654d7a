"""A head-wise context and its controller in step: tokens go in, rows are freed, bytes counted."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from edge_audiokv.engine.decoding.choose import Chooser
from edge_audiokv.engine.memory import positions
from edge_audiokv.engine.memory.estimate import shape_of
from edge_audiokv.engine.runtime import Runtime
from edge_audiokv.errors import ModelError, NativeError
from edge_audiokv.kv.budget import apart
from edge_audiokv.kv.controller import Controller, Eviction
from edge_audiokv.kv.novelty import Novelty
from edge_audiokv.kv.policy import Policy, make_policy
from edge_audiokv.kv.profile import load_profile
from edge_audiokv.kv.shape import FloatArray, IntArray
from edge_audiokv.kv.view import Kind
from edge_audiokv.native.context import HeadwiseContext

# Micro-batch: the masks of one graph grow with it, and scoring looks at its end only.
_BATCH_TOKENS = 128
# Queries whose attention is averaged: the question and the opening of the answer are about as many.
_SCORE_WINDOW = 16
MAX_LEVELS = 8


@dataclass
class CacheStats:
    """What evictions did since the cache was made."""

    evictions: int = 0
    shifts: int = 0
    freed_rows: int = 0
    freed_bytes: int = 0
    evict_s: float = 0.0

    def add(self, eviction: Eviction, duration_s: float) -> None:
        self.evictions += 1
        self.freed_rows += eviction.freed_rows
        self.freed_bytes += eviction.freed_bytes
        self.evict_s += duration_s


class HeadCache:
    """One sequence. Every append makes room first, so no head is ever full when tokens arrive.

    `share` is what `finish_prompt` leaves of the rows, `max_tokens` what the cache would have to
    hold without eviction. The cache owns `context` and closes it.
    """

    def __init__(
        self,
        context: HeadwiseContext,
        controller: Controller,
        *,
        share: float = 1.0,
        max_tokens: int = 0,
    ) -> None:
        self.context = context
        self.controller = controller
        self.share = share
        self.max_tokens = max_tokens
        self.stats = CacheStats()
        self._n_generated = 0
        self._observing = True
        self._novelty = Novelty()

    @property
    def nbytes(self) -> int:
        """Pools, scores, compute buffers and the controller's statistics."""
        return self.context.nbytes + self.controller.nbytes + self._novelty.nbytes

    @property
    def full_pool_nbytes(self) -> int:
        """Bytes of f16 pools that hold `max_tokens` rows in every head."""
        shape = self.context.shape
        return self.max_tokens * shape.n_head * shape.head_dim * 4

    @property
    def next_position(self) -> int:
        return self.context.next_position

    def close(self) -> None:
        self.context.close()

    def warm_up(self) -> None:
        """Decode sound, a question and a word, evict, and forget it all: what that needs is touched
        then, and can be measured. The cache must be empty.
        """
        size = min(_BATCH_TOKENS, self.context.free_rows // 3)
        self.append_embeddings(np.zeros((size, self.context.model.n_embd), np.float32))
        self.ask(list(range(size)))
        self.append_generated([0])
        if self.context.n_outputs > 1:
            self.context.decode_tokens([0] * self.context.n_outputs, all_logits=True)
        if self.controller.policy.evicts:
            self.controller.evict(self.context, self.targets(0.5))
        self.clear()

    def clear(self) -> None:
        """Forget everything; positions start at 0 again."""
        self.context.clear()
        self.controller.reset()
        self._novelty.reset()
        self._n_generated = 0

    def forget_scores(self) -> None:
        """What attention was scored so far does not count."""
        self.controller.forget_scores()

    @contextmanager
    def unobserved(self) -> Iterator[None]:
        """Inside, attention is not scored: what is truncated afterwards leaves no trace."""
        self._observing = False
        try:
            yield
        finally:
            self._observing = True

    def append_tokens(self, ids: Sequence[int], kind: Kind) -> None:
        """Add tokens that nobody answers yet."""
        for start in range(0, len(ids), _BATCH_TOKENS):
            part = ids[start : start + _BATCH_TOKENS]
            self.make_room(len(part))
            self.context.decode_tokens(part, logits=False)
            self.controller.appended(kind, len(part))

    def append_embeddings(self, embeddings: FloatArray) -> None:
        """Add audio, float32 [T, n_embd]. Scored before an eviction, so that it has a basis."""
        for start in range(0, len(embeddings), _BATCH_TOKENS):
            part = embeddings[start : start + _BATCH_TOKENS]
            self.make_room(len(part))
            following = min(_BATCH_TOKENS, len(embeddings) - start - len(part))
            after = self.context.counts + len(part)
            score = self.controller.uses_scores and (
                following > 0 and self.controller.must_evict(after, following)
            )
            self.context.decode_embeddings(part, score=score)
            novelty = self._novelty.measure(part) if self.controller.uses_novelty else None
            self.controller.appended(Kind.AUDIO, len(part), novelty=novelty)
            if score:
                self.controller.observe(
                    self.context, n_queries=min(_SCORE_WINDOW, len(part)), text=False
                )

    def ask(self, ids: Sequence[int]) -> FloatArray:
        """Add a question; logits [V] of the answer's first token. Its attention is observed."""
        self.make_room(len(ids))
        score = self.controller.uses_scores and self._observing
        logits = self.context.decode_tokens(ids, score=score)
        self.controller.appended(Kind.PROMPT, len(ids))
        if score:
            self.controller.observe(self.context, n_queries=min(_SCORE_WINDOW, len(ids)))
        self._n_generated = 0
        return _there(logits)

    def finish_prompt(self, ids: Sequence[int]) -> FloatArray:
        """Add the question, then keep `share` of the rows; logits [V] of the first answer token."""
        logits = self.ask(ids)
        if self.share < 1 and self.controller.policy.evicts:
            self.evict(self.targets(self.share))
        return logits

    def append_generated(self, ids: Sequence[int]) -> FloatArray:
        """Add generated tokens; logits [V] after the last."""
        self.make_room(len(ids))
        score = self._observing and self.controller.wants_scores(self._n_generated)
        logits = self.context.decode_tokens(ids, score=score)
        self.controller.appended(Kind.TEXT, len(ids))
        if score:
            self.controller.observe(self.context, n_queries=len(ids))
        self._n_generated += len(ids)
        return _there(logits)

    def read_back(self, ids: Sequence[int]) -> Iterator[tuple[FloatArray, FloatArray, IntArray]]:
        """Add tokens one by one, text whose words are known: of each the logits [V] after it, its
        attention [L, H, R] and the positions [L, H, R] that it goes to.
        """
        for token in ids:
            self.make_room(1)
            logits = _there(self.context.decode_tokens([token], score=True))
            scores, at = self.context.scores(), self.context.positions()
            self.controller.appended(Kind.TEXT, 1)
            yield logits, scores, at

    def append_draft(
        self, ids: Sequence[int], logits: FloatArray, chooser: Chooser
    ) -> tuple[int, FloatArray]:
        """Add as many of `ids` as `chooser` would have picked, the first after `logits` [V]; it is
        told of each.

        Returns how many they are, and the logits [V] after the last of them.
        """
        accepted = 0
        while accepted < len(ids) and chooser.pick(logits) == ids[accepted]:
            part = ids[accepted : accepted + self.context.n_outputs]
            self.make_room(len(part))
            start = self.context.next_position
            after = _there(self.context.decode_tokens(part, all_logits=True))
            self.controller.appended(Kind.TEXT, len(part))
            chooser.push(part[0])
            n_right = 1
            while n_right < len(part) and chooser.pick(after[n_right - 1]) == part[n_right]:
                chooser.push(part[n_right])
                n_right += 1
            accepted, logits = accepted + n_right, after[n_right - 1]
            if n_right < len(part):
                self.truncate(start + n_right)
                break
        self._n_generated += accepted
        return accepted, logits

    @property
    def is_whole(self) -> bool:
        """Every head still holds every token."""
        return bool((self.context.counts == self.next_position).all())

    @property
    def can_turn(self) -> bool:
        """Keys can be turned to other positions."""
        return self.context.type_k != "q4_0"

    def can_adopt(self, turn: HeadCache) -> bool:
        """Rows can be taken over one by one if none was evicted and keys can be turned."""
        return turn.is_whole and turn.can_turn

    def adopt(self, turn: HeadCache, embeddings: FloatArray | None = None) -> None:
        """Take over all that `turn` holds as the next tokens here, without reading it again.

        Its rows were computed without a view of what is remembered here; keys turn with the move.
        `embeddings` [T, n_embd] is the turn's audio, if it has any. `turn` is empty afterwards.
        """
        self.make_room(turn.next_position)
        novelty = None
        if self.controller.uses_novelty and embeddings is not None:
            novelty = np.empty(len(embeddings), np.float32)
            for at in range(0, len(embeddings), _BATCH_TOKENS):
                part = slice(at, at + _BATCH_TOKENS)
                novelty[part] = self._novelty.measure(embeddings[part])
        counts, added = self.context.counts, turn.context.counts
        if self.next_position:
            turn.context.shift(self.next_position)
        self.context.append_rows(turn.context)
        self.controller.adopt(turn.controller, counts, added, novelty=novelty)
        turn.clear()

    def targets(self, share: float) -> IntArray:
        """Rows that each head keeps of `share` of all rows, equal within a lockstep level."""
        context = self.context
        counts, level = context.counts, context.level
        least_rows = min(self.controller.settings.n_sinks + 1, int(counts.min()))
        wanted = self.controller.policy.budgets(
            # A short clip and a small share still leave every head its sinks.
            max(int(share * int(counts.sum())), least_rows * counts.size),
            context.shape,
            counts,
            least_rows=least_rows,
        )
        targets = np.empty_like(counts)
        for index in np.unique(level):
            members = level == index
            # Rounding down keeps the whole within the share.
            targets[members] = max(1, int(wanted[members].mean()))
        return np.minimum(targets, counts)

    def evict(self, targets: IntArray) -> Eviction:
        """Shrink every head to its target now."""
        started = time.perf_counter()
        eviction = self.controller.evict(self.context, targets)
        self.stats.add(eviction, time.perf_counter() - started)
        return eviction

    def make_room(self, n_tokens: int) -> None:
        """Evict if `n_tokens` more do not fit every head."""
        started = time.perf_counter()
        eviction = self.controller.make_room(self.context, n_tokens)
        if eviction is not None:
            self.stats.add(eviction, time.perf_counter() - started)

    def shift(self, delta: int, *, first: int) -> None:
        """Drop the oldest `delta` positions behind the first ones; the others move down."""
        positions.shift(self, delta, first=first)

    def squeeze(self, placement: str, *, recent_tokens: int, limit: int) -> None:
        """Move rows so that the next token's position is at most `limit`: memory/positions.py."""
        positions.squeeze(self, placement, recent_tokens=recent_tokens, limit=limit)

    def truncate(self, position: int) -> None:
        """Drop everything from `position` on."""
        self.context.truncate(position)
        self.controller.truncate(position, self.context.counts)


def _there(logits: FloatArray | None) -> FloatArray:
    if logits is None:
        raise NativeError("llama.cpp gave no logits.")
    # NaN is the largest of any numbers, and damaged weights give many.
    if not math.isfinite(float(logits.max())):
        raise ModelError(
            "The LLM answers with values that are not numbers.",
            cure="Its weights or the encoder's are damaged: fetch the model again.",
        )
    return logits


def policy_of(runtime: Runtime) -> Policy:
    """The policy of the settings, with the model's head profile if it has one."""
    settings, local = runtime.settings, runtime.find()
    profile = None
    if local.profile_path is not None:
        profile = load_profile(local.profile_path)
        profile.check(shape_of(local), local.model_hash)
    return make_policy(settings.kv_policy, profile=profile, **settings.kv_options)


def clip_capacity(
    runtime: Runtime, policy: Policy, *, prompt_tokens: int, text_tokens: int
) -> IntArray:
    """Rows of each head, int32 [L, H], for one clip: a whole prompt fits before it is evicted,
    and what stays of it leaves room for the text.
    """
    shape, share = shape_of(runtime.find()), runtime.settings.kv_share
    multiple = runtime.offload.row_multiple
    if share >= 1 or not policy.evicts:
        rows = -(-(prompt_tokens + text_tokens) // multiple) * multiple
        return np.full((shape.n_layer, shape.n_kv_head), rows, np.int32)
    kept_rows = max(shape.n_head, int(share * prompt_tokens * shape.n_head))
    kept = policy.budgets(kept_rows, shape, prompt_tokens)
    # Heads that are to be cut to different counts must not share a lockstep level.
    least = np.maximum(prompt_tokens, kept + text_tokens)
    return apart(kept, least, row_multiple=multiple)


def open_cache(
    runtime: Runtime,
    capacity: IntArray,
    policy: Policy,
    *,
    max_tokens: int,
    n_outputs: int = 1,
    share: float | None = None,
) -> HeadCache:
    """Allocate a cache of `capacity` [L, H] rows (rounded up to the native layer's levels).

    `share` is that of the settings unless it is given.
    `n_outputs` is how many tokens of a draft are checked at once; each costs 8 bytes a token of the
    vocabulary.
    """
    settings = runtime.settings
    context = HeadwiseContext(
        runtime.model,
        capacity,
        type_k=settings.type_k,
        type_v=settings.type_v,
        n_batch=_BATCH_TOKENS,
        max_levels=MAX_LEVELS,
        score_window=_SCORE_WINDOW,
        n_threads=settings.n_threads,
        n_outputs=n_outputs,
        rows_on_host=settings.kv_device == "cpu",
    ).load()
    kept = settings.kv_share if share is None else share
    return cache_over(context, policy, share=kept, max_tokens=max_tokens)


def cache_over(
    context: HeadwiseContext, policy: Policy, *, share: float, max_tokens: int = 0
) -> HeadCache:
    """A cache over `context`, which is closed if `policy` does not suit it."""
    try:
        controller = Controller(policy, context.shape, context.capacity)
    except BaseException:
        context.close()
        raise
    return HeadCache(context, controller, share=share, max_tokens=max_tokens)
