"""The caches of a session, cut from what the cap leaves: a small scratch one, and the memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_audiokv.engine.cache import HeadCache, clip_capacity, open_cache, policy_of
from edge_audiokv.engine.rolling import MAX_ANSWER_TOKENS, MAX_QUESTION_TOKENS
from edge_audiokv.engine.runtime import Runtime

_TEXT_TOKENS_PER_S = 8.0
_PROMPT_TOKENS = 64
_ROW_MULTIPLE = 64
# Tokens of an earlier draft that are checked at once.
_DRAFT_TOKENS = 12
# Rows of older turns that even the smallest cache keeps beside the turn in progress.
_LEAST_OLD_ROWS = 128
# Compute buffers of two contexts and their logits (measured 9 MB), before they are allocated.
_COMPUTE_BYTES = 16 << 20


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


def open_session_caches(runtime: Runtime, max_segment_s: float) -> SessionCaches:
    """Plan with what is loaded and measured, give the memory all that the cap leaves, allocate.

    Raises MemoryBudgetError with the sum and the smallest cap that works.
    """
    model = runtime.model
    policy = policy_of(runtime)
    prompt_tokens = int(max_segment_s * runtime.encoder.tokens_per_second) + 1 + _PROMPT_TOKENS
    text_tokens = int(max_segment_s * _TEXT_TOKENS_PER_S)
    turn_tokens = prompt_tokens + text_tokens
    shape = runtime.row_shape
    head_row_bytes = shape.n_head * shape.row_bytes

    scratch_capacity = _rounded(
        clip_capacity(runtime, policy, prompt_tokens=prompt_tokens, text_tokens=text_tokens)
    )
    least_rows = turn_tokens + MAX_QUESTION_TOKENS + MAX_ANSWER_TOKENS + _LEAST_OLD_ROWS
    least_rows = -(-least_rows // _ROW_MULTIPLE) * _ROW_MULTIPLE
    most_rows = -(-model.n_ctx_train // _ROW_MULTIPLE) * _ROW_MULTIPLE
    plan = runtime.make_plan(
        {"compute": _COMPUTE_BYTES, "segment pools": int(scratch_capacity.sum()) * shape.row_bytes},
        kv_min_bytes=least_rows * head_row_bytes,
        kv_max_bytes=int(most_rows * head_row_bytes * min(1.0, runtime.settings.kv_share)),
    )
    capacity = policy.budgets(
        plan.kv_bytes // shape.row_bytes,
        shape,
        most_rows,
        row_multiple=_ROW_MULTIPLE,
        least_rows=least_rows,
    )
    scratch = open_cache(
        runtime, scratch_capacity, policy, max_tokens=turn_tokens, n_outputs=_DRAFT_TOKENS
    )
    try:
        memory = open_cache(runtime, capacity, policy, max_tokens=most_rows)
    except BaseException:
        scratch.close()
        raise
    ledger = runtime.ledger
    ledger.add("segment pools", lambda: scratch.context.pool_nbytes)
    ledger.add("KV pools", lambda: memory.context.pool_nbytes)
    ledger.add(
        "compute",
        lambda: (
            scratch.nbytes
            + memory.nbytes
            - scratch.context.pool_nbytes
            - memory.context.pool_nbytes
        ),
    )
    return SessionCaches(scratch, memory, turn_tokens)


def _rounded(
    capacity: np.ndarray[tuple[int, ...], np.dtype[np.int32]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    return (-(-capacity // _ROW_MULTIPLE) * _ROW_MULTIPLE).astype(np.int32)
