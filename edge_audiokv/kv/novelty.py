"""Novelty: how little an audio row resembles the mean audio row, 1 - cosine of the embeddings.

An audio encoder has more rows than there are words: most say nothing, and those resemble each
other and so the mean, while a row that carries a word stands apart. It is known the moment a row
arrives, before any text query has looked at it. Ours; KeyDiff (2504.15364) ranks keys likewise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_audiokv.kv.shape import FloatArray


class Novelty:
    """Keeps the sum of unit rows heard since `reset`, 8 bytes a dimension."""

    def __init__(self) -> None:
        self._sum: NDArray[np.float64] | None = None

    @property
    def nbytes(self) -> int:
        return 0 if self._sum is None else self._sum.nbytes

    def reset(self) -> None:
        """Forget what was heard."""
        self._sum = None

    def measure(self, embeddings: FloatArray) -> FloatArray:
        """Novelty of rows [T, d], float32 [T] in [0, 2], against all rows so far and these.

        Rows of zeros have no direction: their novelty is 0 and they do not count.
        """
        norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
        unit = np.divide(embeddings, norms, out=np.zeros_like(embeddings), where=norms > 0)
        heard = unit.sum(axis=0, dtype=np.float64)
        self._sum = heard if self._sum is None else self._sum + heard
        length = float(np.linalg.norm(self._sum))
        if length == 0:
            return np.asarray(norms[:, 0] > 0, np.float32)
        cosine = unit @ (self._sum / length).astype(np.float32)
        novelty: FloatArray = np.clip(1 - cosine, 0, 2).astype(np.float32)
        novelty[norms[:, 0] == 0] = 0
        return novelty
