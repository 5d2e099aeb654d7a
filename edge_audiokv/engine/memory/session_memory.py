"""The caches of a session, cut from what the cap leaves: a small scratch one, and the memory."""

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
from edge_audiokv.engine.memory.estimate import context_bytes, shape_of
from edge_audiokv.engine.memory.heap import trim_heap
from edge_audiokv.engine.memory.rolling import (
    MAX_ANSWER_TOKENS,
    MAX_QUESTION_TOKENS,
    MAX_REMINDER_TOKENS,
)
from edge_audiokv.engine.runtime import Runtime
from edge_audiokv.kv.memory import rss_bytes
from edge_audiokv.kv.placements import DEFAULT_PLACEMENT, DROP
from edge_audiokv.kv.places import Places
from edge_audiokv.kv.policy import Policy
from edge_audiokv.kv.shape import KVShape
from edge_audiokv.kv.statistics import RowStatistics

TEXT_TOKENS_PER_S = 8.0
# Tokens of an earlier draft that are checked at once.
_DRAFT_TOKENS = 12
# Rows of older turns that even the smallest cache keeps beside the turn in progress.
_LEAST_OLD_ROWS = 128
# Arrays that an eviction or a scored step works with for a moment, in bytes a row (measured with
# tracemalloc; a policy that looks at all layers at once takes more), and for one layer.
WORK_ROW_BYTES, WORK_ROW_BYTES_WHOLE = 24, 100
WORK_BYTES = 6 << 20
# The mask of one level and token, and of the graph beside it, for micro-batches of 128.
_MASK_BYTES_PER_LEVEL, _MASK_BYTES = 290, 140
_VOICE_BYTES = 9 << 20
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
    turns are brought back for a question, `caches_apart` that a device's own memory holds the rows.
    """

    shape: KVShape
    policy: Policy
    turn_tokens: int
    scratch_rows: int
    least_rows: int
    most_rows: int
    squeezes: bool = DEFAULT_PLACEMENT != DROP
    recalls: bool = False
    row_multiple: int = 64
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
            text_tokens=int(max_segment_s * TEXT_TOKENS_PER_S),
            context_tokens=local.gguf.context_length,
            placement=placement,
            recalls=recalls,
            row_multiple=offload.row_multiple,
        )
        return replace(needs, caches_apart=offload.is_apart and offload.takes_cache)

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

    @property
    def estimated_parts(self) -> dict[str, int]:
        """What a session adds to a runtime, before anything is loaded."""
        return {
            "audio": _VOICE_BYTES,
            "segment cache": context_bytes() + self.scratch_bytes * (not self.caches_apart),
            "compute": context_bytes() + WORK_BYTES,
            **({"archive": _ARCHIVE_BYTES} if self.recalls else {}),
        }

    @property
    def for_loading(self) -> Loading:
        """What the runtime is to leave room for."""
        there = {"segment cache": context_bytes() + self.scratch_bytes}
        return {
            "others": self.estimated_parts,
            "device_others": there if self.caches_apart else {},
            "kv_min_bytes": self.least_bytes,
            "table_share": self.table_share,
        }


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

    `buffer_bytes` is the sound that is held for the open segment; it is touched as sound comes in.
    Raises ModelError if the detector's weights cannot be used.
    """
    before_bytes = rss_bytes()
    detector.load()
    detector.probabilities(np.zeros((128, FRAME_SAMPLES), np.float32))
    detector.reset()
    grown_bytes = max(0, rss_bytes() - before_bytes)
    runtime.ledger.add("audio", lambda: grown_bytes + buffer_bytes)


def open_session_caches(runtime: Runtime, needs: SessionNeeds) -> SessionCaches:
    """Open the segment's cache, measure what is taken, and give the memory all that the cap leaves.

    Raises MemoryBudgetError with the sum and the smallest cap that works.
    """
    shape, ledger = needs.shape, runtime.ledger
    before_bytes = rss_bytes()
    scratch = open_cache(
        runtime,
        np.full((shape.n_layer, shape.n_kv_head), needs.scratch_rows, np.int32),
        needs.policy,
        max_tokens=needs.turn_tokens,
        n_outputs=_DRAFT_TOKENS,
        share=1.0,
    )
    try:
        scratch.warm_up()
        taken_bytes = max(rss_bytes() - before_bytes, scratch.nbytes)
        ledger.add("segment cache", lambda: taken_bytes)
        if scratch.context.device_nbytes:
            ledger.add_on_device("segment cache", lambda: scratch.context.device_nbytes)
        most_bytes = needs.most_rows * shape.n_head * shape.row_bytes
        # The second context is like the first, but for the first one's pools.
        second_bytes = max(0, taken_bytes - scratch.context.host_pool_nbytes)
        second_there_bytes = max(0, scratch.context.device_nbytes - scratch.context.pool_nbytes)
        plan = runtime.make_plan(
            {"compute": second_bytes, "working space": WORK_BYTES},
            kv_min_bytes=needs.least_bytes,
            kv_max_bytes=int(most_bytes * min(1.0, runtime.settings.kv_share)),
            table_share=needs.table_share,
            device_others={"compute": second_there_bytes},
        )
        capacity = needs.policy.budgets(
            plan.kv_bytes // shape.row_bytes,
            shape,
            needs.most_rows,
            row_multiple=needs.row_multiple,
            least_rows=needs.least_rows,
        )
        before_bytes = rss_bytes()
        memory = open_cache(runtime, capacity, needs.policy, max_tokens=needs.most_rows)
    except BaseException:
        scratch.close()
        raise
    memory.warm_up()
    trim_heap()
    # The masks of a full cache are reserved and not yet touched: the segment's cache, which is
    # small, shows how much of the compute buffers an empty one has used.
    masks_bytes = max(0, memory.context.compute_nbytes - scratch.context.compute_nbytes)
    pool_bytes = memory.context.host_pool_nbytes
    grown_bytes = rss_bytes() - before_bytes - pool_bytes + masks_bytes
    memory.count_in(ledger, lambda: max(grown_bytes, memory.nbytes - pool_bytes))
    return SessionCaches(scratch, memory, needs.turn_tokens)


def _rounded(rows: int, multiple: int) -> int:
    return -(-rows // multiple) * multiple
