"""The caches of sessions, cut from what the cap leaves: a small scratch one, and the memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypedDict

import numpy as np

from edge_audiokv.audio.vad import FRAME_SAMPLES, VoiceDetector
from edge_audiokv.engine.cache import (
    MAX_LEVELS,
    HeadCache,
    open_cache,
    policy_of,
)
from edge_audiokv.engine.decoding.decode import DRAFT_TOKENS
from edge_audiokv.engine.decoding.guard import most_tokens
from edge_audiokv.engine.memory.counting import count_caches
from edge_audiokv.engine.memory.estimate import context_bytes_of, shape_of
from edge_audiokv.engine.memory.heap import trim_heap
from edge_audiokv.engine.memory.rolling import (
    MAX_ANSWER_TOKENS,
    MAX_QUESTION_TOKENS,
    MAX_REMINDER_TOKENS,
)
from edge_audiokv.engine.runtime import Runtime
from edge_audiokv.kv.memory import SLACK_SHARE, rss_bytes
from edge_audiokv.kv.placements import DEFAULT_PLACEMENT, DROP
from edge_audiokv.kv.places import Places
from edge_audiokv.kv.policy import Policy
from edge_audiokv.kv.shape import KVShape
from edge_audiokv.kv.statistics import RowStatistics

# Rows of older turns that even the smallest cache keeps beside the turn in progress.
_LEAST_OLD_ROWS = 128
# Arrays that an eviction or a scored step works with for a moment, in bytes a row (measured with
# tracemalloc; a policy that looks at all layers at once takes more), and for one layer.
WORK_ROW_BYTES, WORK_ROW_BYTES_WHOLE = 24, 100
WORK_BYTES = 6 << 20
# The mask of one level and token, and of the graph beside it, for micro-batches of 128.
_MASK_BYTES_PER_LEVEL, _MASK_BYTES = 290, 140
# The voice detector with the sound of one open segment, and that of another.
_VOICE_BYTES, _SOUND_BYTES = 9 << 20, 2 << 20
# What an archive in memory may hold, SQLite's connection to it, and SQLite.
_ARCHIVE_BYTES = 4 << 20


class Loading(TypedDict):
    """Arguments of `Runtime.load`."""

    others: dict[str, int]
    device_others: dict[str, int]
    kv_min_bytes: int
    table_share: float


@dataclass(frozen=True)
class SessionNeeds:
    """Sizes of a session's caches that follow from its settings and the model's files alone.

    `least_rows` and `most_rows` bound each head of the memory. A head of the segment's cache has
    `scratch_rows`: it loses none, so that the memory can take them over. All are multiples of
    `row_multiple`. `squeezes` tells that old time closes up when positions run out, `recalls` that
    turns are brought back for a question, `computes_apart` that a device with memory of its own
    computes, `caches_apart` that it holds the rows, too.
    """

    shape: KVShape
    policy: Policy
    turn_tokens: int
    scratch_rows: int
    least_rows: int
    most_rows: int
    context_bytes: int
    squeezes: bool = DEFAULT_PLACEMENT != DROP
    recalls: bool = False
    row_multiple: int = 64
    computes_apart: bool = False
    caches_apart: bool = False

    @classmethod
    def of(
        cls,
        runtime: Runtime,
        max_segment_s: float,
        placement: str = DEFAULT_PLACEMENT,
        *,
        recalls: bool = False,
    ) -> SessionNeeds:
        """Needs nothing loaded. Raises PolicyError, ModelError or DownloadError."""
        local, settings = runtime.find(), runtime.settings
        shape = replace(shape_of(local), type_k=settings.type_k, type_v=settings.type_v)
        entry, offload = local.entry, runtime.offload
        needs = cls.sized(
            shape,
            policy_of(runtime),
            audio_tokens=entry.rule.rows_in(max_segment_s) + 1,
            prompt_tokens=entry.prompt.max_tokens,
            text_tokens=most_tokens(max_segment_s, entry.prompt.answer_tags),
            context_tokens=local.gguf.context_length,
            context_bytes=context_bytes_of(local),
            placement=placement,
            recalls=recalls,
            row_multiple=offload.row_multiple,
        )
        apart = offload.is_apart
        return replace(needs, computes_apart=apart, caches_apart=apart and offload.takes_cache)

    @classmethod
    def sized(
        cls,
        shape: KVShape,
        policy: Policy,
        *,
        audio_tokens: int,
        prompt_tokens: int,
        text_tokens: int,
        context_tokens: int,
        context_bytes: int,
        placement: str = DEFAULT_PLACEMENT,
        recalls: bool = False,
        row_multiple: int = 64,
    ) -> SessionNeeds:
        """For the longest segment's tokens and the positions that the model was trained for."""
        turn_tokens = audio_tokens + prompt_tokens + text_tokens
        least = turn_tokens + MAX_QUESTION_TOKENS + MAX_ANSWER_TOKENS + _LEAST_OLD_ROWS
        least += MAX_REMINDER_TOKENS * recalls
        return cls(
            shape,
            policy,
            turn_tokens,
            _rounded(turn_tokens, row_multiple),
            _rounded(least, row_multiple),
            _rounded(context_tokens, row_multiple),
            context_bytes,
            placement != DROP,
            recalls,
            row_multiple,
        )

    @property
    def scratch_bytes(self) -> int:
        """Pools and row tables of the segment's cache."""
        pool_bytes = self.scratch_rows * self.shape.n_head * self.shape.row_bytes
        return int(pool_bytes * (1 + self.table_share))

    @property
    def least_bytes(self) -> int:
        """Pools of the smallest memory that works."""
        return self.least_rows * self.shape.n_head * self.shape.row_bytes

    @property
    def table_share(self) -> float:
        """Bytes of statistics, masks and working arrays for each byte of the pools."""
        shape, policy = self.shape, self.policy
        levels = 1 if policy.weights(shape) is None else MAX_LEVELS
        work = WORK_ROW_BYTES if policy.by_layer else WORK_ROW_BYTES_WHOLE
        # Scores and positions in the native layer: 4 bytes each.
        row = (
            8
            + Places.bytes_per_row * self.squeezes
            + RowStatistics.bytes_per_row(policy.needs)
            + work
        )
        masks = _MASK_BYTES + _MASK_BYTES_PER_LEVEL * levels
        return (row + masks / shape.n_head) / shape.row_bytes

    def estimated_parts(self, n_sessions: int = 1) -> dict[str, int]:
        """What sessions add to a runtime, before anything is loaded. They share the voice detector,
        and one works at a time.
        """
        return {
            "audio": _VOICE_BYTES + (n_sessions - 1) * _SOUND_BYTES,
            "segment cache": n_sessions
            * (self.context_bytes + self.scratch_bytes * (not self.caches_apart)),
            "compute": n_sessions * self.context_bytes + WORK_BYTES,
            **({"archive": n_sessions * _ARCHIVE_BYTES} if self.recalls else {}),
        }

    def for_loading(self, n_sessions: int = 1) -> Loading:
        """What the runtime is to leave room for."""
        there = {
            "segment cache": n_sessions
            * (self.context_bytes + self.scratch_bytes * self.caches_apart),
            "compute of others": (n_sessions - 1) * self.context_bytes,
        }
        return {
            "others": self.estimated_parts(n_sessions),
            "device_others": there if self.computes_apart else {},
            "kv_min_bytes": n_sessions * self.least_bytes,
            "table_share": self.table_share,
        }

    @property
    def session_bytes(self) -> int:
        """What one session more takes of a cap, at least."""
        parts = self.estimated_parts(2), self.estimated_parts(1)
        more_bytes = sum(parts[0].values()) - sum(parts[1].values())
        least_bytes = self.least_bytes * ((not self.caches_apart) + self.table_share)
        return int(more_bytes * (1 + SLACK_SHARE) + least_bytes)


@dataclass
class SessionCaches:
    """`scratch` decodes single segments; `memory` holds the session."""

    scratch: HeadCache
    memory: HeadCache
    max_turn_tokens: int

    @property
    def nbytes(self) -> int:
        return self.scratch.nbytes + self.memory.nbytes

    def close(self) -> None:
        self.scratch.close()
        self.memory.close()


def load_audio(runtime: Runtime, detector: VoiceDetector, buffer_bytes: int) -> None:
    """Load the voice detector and let it hear the longest block once, so that it can be measured.

    `buffer_bytes` is the sound that is held for open segments; it is touched as sound comes in.
    Raises ModelError if the detector's weights cannot be used.
    """
    before_bytes = rss_bytes()
    detector.load()
    detector.probabilities(np.zeros((128, FRAME_SAMPLES), np.float32))
    detector.reset()
    grown_bytes = max(0, rss_bytes() - before_bytes)
    runtime.ledger.add("audio", lambda: grown_bytes + buffer_bytes)


def open_session_caches(
    runtime: Runtime, needs: SessionNeeds, n_sessions: int = 1
) -> list[SessionCaches]:
    """Open each session's cache of segments, measure what is taken, and divide all that the cap
    leaves among their memories.

    Raises MemoryBudgetError with the sum and the smallest cap that works.
    """
    shape, ledger = needs.shape, runtime.ledger
    opened: list[HeadCache] = []
    try:
        before_bytes = rss_bytes()
        for _ in range(n_sessions):
            opened.append(_open_scratch(runtime, needs))
            opened[-1].warm_up()
        scratches = opened[:]
        taken_bytes = max(rss_bytes() - before_bytes, sum(cache.nbytes for cache in scratches))
        ledger.add("segment cache", lambda: taken_bytes)
        there_bytes = sum(cache.context.device_nbytes for cache in scratches)
        if there_bytes:
            ledger.add_on_device("segment cache", lambda: there_bytes)
        most_bytes = needs.most_rows * shape.n_head * shape.row_bytes
        # The other contexts are like the first ones, but for those's pools.
        host_pool_bytes = sum(cache.context.host_pool_nbytes for cache in scratches)
        others_bytes = max(0, taken_bytes - host_pool_bytes)
        there_pool_bytes = sum(cache.context.pool_nbytes for cache in scratches) - host_pool_bytes
        plan = runtime.make_plan(
            {"compute": others_bytes, "working space": WORK_BYTES},
            kv_min_bytes=n_sessions * needs.least_bytes,
            kv_max_bytes=n_sessions * int(most_bytes * min(1.0, runtime.settings.kv_share)),
            table_share=needs.table_share,
            device_others={"compute": max(0, there_bytes - there_pool_bytes)},
        )
        capacity = needs.policy.budgets(
            plan.kv_bytes // n_sessions // shape.row_bytes,
            shape,
            needs.most_rows,
            row_multiple=needs.row_multiple,
            least_rows=needs.least_rows,
        )
        before_bytes = rss_bytes()
        for _ in range(n_sessions):
            opened.append(open_cache(runtime, capacity, needs.policy, max_tokens=needs.most_rows))
            opened[-1].warm_up()
    except BaseException:
        for cache in opened:
            cache.close()
        raise
    memories = opened[n_sessions:]
    trim_heap()
    pool_bytes = sum(cache.context.host_pool_nbytes for cache in memories)
    # The masks of a full cache are reserved and not yet touched: the segment's cache, which is
    # small, shows how much of the compute buffers an empty one has used.
    masks_bytes = sum(
        max(0, memory.context.compute_nbytes - scratch.context.compute_nbytes)
        for memory, scratch in zip(memories, scratches, strict=True)
    )
    grown_bytes = rss_bytes() - before_bytes - pool_bytes + masks_bytes

    def compute_bytes() -> int:
        return max(grown_bytes, sum(cache.nbytes for cache in memories) - pool_bytes)

    count_caches(ledger, memories, compute_bytes)
    pairs = zip(scratches, memories, strict=True)
    return [SessionCaches(scratch, memory, needs.turn_tokens) for scratch, memory in pairs]


def _open_scratch(runtime: Runtime, needs: SessionNeeds) -> HeadCache:
    shape = needs.shape
    return open_cache(
        runtime,
        np.full((shape.n_layer, shape.n_kv_head), needs.scratch_rows, np.int32),
        needs.policy,
        max_tokens=needs.turn_tokens,
        n_outputs=DRAFT_TOKENS,
        share=1.0,
    )


def _rounded(rows: int, multiple: int) -> int:
    return -(-rows // multiple) * multiple
