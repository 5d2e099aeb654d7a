"""The cache's shape and the ragged arrays between the controller and the native layer.

Letters: L layers, H KV heads, G = query heads per KV head, T rows of a head, D head dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int32]
FloatArray = NDArray[np.float32]

# Bytes of a block of 32 values, as ggml lays them out.
_BLOCK_BYTES = {"f32": 128, "f16": 64, "q8_0": 34, "q4_0": 18}


@dataclass(frozen=True)
class KVShape:
    """Dimensions of a model's cache, and the cost of one row (one token of one KV head, K + V)."""

    n_layer: int
    n_kv_head: int
    n_group: int
    head_dim: int
    type_k: str = "f16"
    type_v: str = "f16"

    @property
    def row_bytes(self) -> int:
        """Bytes of one K row plus one V row."""
        return self.head_dim * (_BLOCK_BYTES[self.type_k] + _BLOCK_BYTES[self.type_v]) // 32

    @property
    def n_head(self) -> int:
        """KV heads in the whole model, L * H."""
        return self.n_layer * self.n_kv_head


@dataclass(frozen=True)
class Rows:
    """Ragged row indices: head (l, h) owns `index[offset[l, h] : offset[l, h] + count[l, h]]`.

    `index` is int32 and ascending inside each head; `count` is int32 [L, H].
    """

    index: IntArray
    count: IntArray

    @property
    def offset(self) -> IntArray:
        """First entry of each head in `index`, int32 [L, H]."""
        flat = self.count.ravel()
        return (np.cumsum(flat) - flat).astype(np.int32).reshape(self.count.shape)

    def of(self, layer: int, head: int) -> IntArray:
        """The rows of one head, a view."""
        start = int(self.offset[layer, head])
        return self.index[start : start + int(self.count[layer, head])]

    @classmethod
    def join(cls, parts: Sequence[Rows]) -> Rows:
        """Rows of consecutive layers as one."""
        return cls(
            np.concatenate([part.index for part in parts]),
            np.concatenate([part.count for part in parts]),
        )

    @classmethod
    def from_mask(cls, mask: NDArray[np.bool_]) -> Rows:
        """Rows where `mask` [L, H, T] is true."""
        count = mask.sum(axis=2).astype(np.int32)
        # One layer at a time: the indices that numpy makes are int64, one for each axis.
        index = [np.nonzero(layer)[1].astype(np.int32) for layer in mask]
        return cls(np.concatenate(index) if index else np.empty(0, np.int32), count)
