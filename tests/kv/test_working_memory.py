"""An eviction of a full cache works within the memory that sessions plan for it."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from edge_audiokv.engine.memory.session_memory import (
    WORK_BYTES,
    WORK_ROW_BYTES,
    WORK_ROW_BYTES_WHOLE,
)
from edge_audiokv.kv.controller import Controller
from edge_audiokv.kv.policy import make_policy
from edge_audiokv.kv.shape import FloatArray, IntArray, KVShape, Rows
from edge_audiokv.kv.view import Kind

SHAPE = KVShape(30, 3, 3, 64)
N_ROWS = 4096


class FullCache:
    """Every head holds positions 0 to T; arrays are made when they are asked for."""

    def __init__(self) -> None:
        self.counts: IntArray = np.full((SHAPE.n_layer, SHAPE.n_kv_head), N_ROWS, np.int32)
        self._scores = np.random.default_rng(0).exponential(size=(30, 3, N_ROWS))

    def positions(self) -> IntArray:
        return np.tile(np.arange(N_ROWS, dtype=np.int32), (30, 3, 1))

    def scores(self) -> FloatArray:
        return self._scores.astype(np.float32)

    def keep(self, rows: Rows) -> None:
        self.counts = rows.count.copy()

    def read_keys(self, layer: int, head: int) -> FloatArray:
        raise NotImplementedError

    def read_values(self, layer: int, head: int) -> FloatArray:
        raise NotImplementedError

    def write_values(self, layer: int, head: int, rows: IntArray, values: FloatArray) -> None:
        raise NotImplementedError


@pytest.mark.parametrize("name", ["audiokv-edge", "streaming-llm", "snapkv", "h2o"])
def test_peak_of_scoring_and_evicting(name: str) -> None:
    policy = make_policy(name)
    controller = Controller(policy, SHAPE, np.full((30, 3), N_ROWS, np.int32))
    kinds = [Kind.PROMPT, Kind.AUDIO, Kind.TEXT] * 3
    for kind, size in zip(kinds, [46, 800, 400, 50, 800, 400, 50, 1150, 400], strict=True):
        controller.appended(kind, size)
    cache = FullCache()
    row_bytes = WORK_ROW_BYTES if policy.by_layer else WORK_ROW_BYTES_WHOLE
    controller.observe(cache, n_queries=16)
    tracemalloc.start()
    controller.observe(cache, n_queries=16)
    controller.make_room(cache, 256)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    planned_bytes = row_bytes * SHAPE.n_head * N_ROWS + WORK_BYTES
    assert int(cache.counts.max()) < N_ROWS
    assert peak_bytes <= planned_bytes
