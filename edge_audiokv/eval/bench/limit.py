"""What memory alone would allow: a token is decoded no faster than its bytes can be read.

Every weight that a token is multiplied with is read once, and every row that the heads hold (the
roofline's memory side: Williams, Waterman and Patterson 2009). The bandwidth is that of a copy,
measured in the same run, read and written bytes counted alike as STREAM does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from edge_audiokv.kv.shape import KVShape
from edge_audiokv.models.gguf import GGUFHeader

# Well above the caches of most processors, for all threads together.
_COPY_BYTES = 128 << 20
_TABLE = "token_embd.weight"


def weight_bytes(header: GGUFHeader) -> int:
    """Bytes of weights that one token moves: all but the table of embeddings, of which it reads
    one row; a model without an output matrix of its own multiplies with that table.
    """
    sizes = header.tensor_bytes
    total = sum(sizes.values())
    return total - sizes.get(_TABLE, 0) if "output.weight" in sizes else total


def token_bytes(weights_bytes: int, held_rows: int, shape: KVShape) -> int:
    """Bytes that a decoded token moves; `held_rows` is the sum over all L * H KV heads."""
    return weights_bytes + held_rows * shape.row_bytes


def share_of_limit(tokens_per_s: float, n_bytes: int, bandwidth_bytes_per_s: float) -> float:
    """What was reached of bandwidth / bytes; above 1 where caches hold a part of the bytes."""
    return tokens_per_s * n_bytes / bandwidth_bytes_per_s


def copy_bandwidth(
    n_threads: int,
    *,
    n_bytes: int = _COPY_BYTES,
    tries: int = 5,
    now: Callable[[], float] = time.perf_counter,
) -> float:
    """Bytes a second, read and written, of the best of `tries` copies by `n_threads` threads."""
    size = max(1, n_bytes // n_threads)
    pairs = [(np.ones(size, np.uint8), np.zeros(size, np.uint8)) for _ in range(n_threads)]
    best_s = float("inf")
    with ThreadPoolExecutor(n_threads) as pool:
        for _ in range(tries):
            started = now()
            # numpy lets other threads run while it copies.
            list(pool.map(lambda pair: np.copyto(pair[1], pair[0]), pairs))
            best_s = min(best_s, now() - started)
    return 2 * size * n_threads / best_s
