"""The bytes that eviction is for: as the library counts them, and as the kernel does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge_audiokv.native.context import HeadwiseContext
from edge_audiokv.native.model import Model
from edge_audiokv.native.quantize import quantize

pytestmark = pytest.mark.integration

N_ROWS, HEADROOM_TOKENS = 8192, 256
MIB = 1 << 20

MEASURE = """
import sys
import numpy as np, psutil
from edge_audiokv.native.context import HeadwiseContext
from edge_audiokv.native.model import Model
with Model(sys.argv[1]) as model:
    rss = lambda: psutil.Process().memory_info().rss
    capacity = np.load(sys.argv[2])
    before = rss()
    with HeadwiseContext(model, capacity, n_threads=1) as context:
        print(rss() - before, context.pool_nbytes, context.nbytes)
"""

LOADED = """
import sys
import psutil
from edge_audiokv.native.model import Model
rss = lambda: psutil.Process().memory_info().rss
before = rss()
with Model(sys.argv[1]):
    print(rss() - before)
"""


def capacities(model: Model, share: float) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    """Eight sizes around `share` of 8192 rows, its mean exactly, plus room for one chunk."""
    shape = (model.shape.n_layer, model.shape.n_kv_head)
    factors = np.linspace(0.3, 1.7, 8)[np.arange(shape[0] * shape[1]) % 8]
    rows = factors / factors.mean() * share * N_ROWS + HEADROOM_TOKENS
    return np.random.default_rng(18).permutation(rows).astype(np.int32).reshape(shape)


def test_forty_percent_costs_forty_percent(model: Model, tmp_path: Path) -> None:
    """Ragged heads that keep 40 % of 8192 rows, with headroom for a chunk of 256 tokens: at most
    45 % of a full f16 cache, in the pools and in resident memory."""
    full = N_ROWS * model.shape.n_head * model.shape.row_bytes
    measured = {}
    for name, capacity in (("40 %", capacities(model, 0.4)), ("100 %", np.full((30, 3), N_ROWS))):
        np.save(tmp_path / "capacity.npy", capacity)
        command = [sys.executable, "-c", MEASURE, str(model.path), str(tmp_path / "capacity.npy")]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=300, check=False, env=dict(os.environ)
        )
        assert done.returncode == 0, done.stderr
        measured[name] = [int(word) for word in done.stdout.split()]

    _, pools, nbytes = measured["40 %"]
    assert measured["100 %"][1] == full
    assert pools <= 0.45 * full
    for rss, pool, total in measured.values():
        # pools are touched when they are made; compute buffers when they are first used
        assert pool <= rss <= total + 16 * MIB
    saved = measured["100 %"][0] - measured["40 %"][0]
    assert saved >= 0.9 * (full - pools)
    assert nbytes < measured["100 %"][2]


def test_decoding_allocates_nothing(model: Model) -> None:
    """Pools and compute buffers are reserved for the worst: scored, full, largest batch."""
    rng = np.random.default_rng(19)
    ids = rng.integers(0, 40000, 900).astype(np.int32)
    with HeadwiseContext(
        model, rng.choice([1024, 1088, 1152, 1280], (30, 3)), n_threads=1, n_batch=128
    ) as ours:
        compute, total = ours.compute_nbytes, ours.nbytes
        for start in range(0, 900, 150):
            ours.decode_tokens(ids[start : start + 150], score=True)
        ours.decode_tokens(ids[:1], score=True)
        ours.shift(50)
        ours.decode_tokens(ids[:60], score=True)
        assert ours.compute_nbytes == compute
        assert ours.nbytes == total


def test_weights_that_the_processor_wants_in_another_order_are_held_once(
    gguf: Path, tmp_path: Path
) -> None:
    """llama.cpp copies Q4_0 into its own order; the file's pages must not stay beside the copy."""
    path = tmp_path / "q4_0.gguf"
    quantize(gguf, path, "Q4_0", threads=2)
    command = [sys.executable, "-c", LOADED, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    grown_bytes = int(done.stdout)
    assert grown_bytes <= path.stat().st_size + 40 * MIB
