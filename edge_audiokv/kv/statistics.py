"""Attention statistics of rows that outlive one scored batch, compacted with the rows.

Memory is allocated once for the capacities: 4 bytes a row and statistic.
"""

from __future__ import annotations

import numpy as np

from edge_audiokv.kv.shape import FloatArray, IntArray, Rows

_FIELDS = {
    "scores": ("window",),
    "ema": ("ema_sum", "ema_weight"),
    "total": ("total", "seen"),
    "variance": ("n_observed", "mean", "square"),
}


class RowStatistics:
    """Accumulators [L, H, C] aligned with the cache's rows; C is the largest capacity."""

    def __init__(
        self, capacity: IntArray, needs: frozenset[str], *, decay: float, n_window: int
    ) -> None:
        self.decay, self.n_window = decay, n_window
        self._window_queries = 0
        size = (*capacity.shape, int(capacity.max()))
        names = {name for need in needs for name in _FIELDS.get(need, ())}
        # `full` touches the pages now, `zeros` only when they are used: a cap is planned once.
        self._data: dict[str, FloatArray] = {name: np.full(size, 0, np.float32) for name in names}

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self._data.values())

    @staticmethod
    def bytes_per_row(needs: frozenset[str]) -> int:
        """What statistics for `needs` take for one row of the cache."""
        return 4 * len({name for need in needs for name in _FIELDS.get(need, ())})

    def observe(self, scores: FloatArray, counts: IntArray, *, n_queries: int, text: bool) -> None:
        """Take in one scored batch: scores [L, H, T] averaged over its last `n_queries` queries.

        Only text queries enter the decayed mean. Rows that are new since the last call start at
        zero.
        """
        data, n_rows = self._data, scores.shape[2]
        valid = np.arange(n_rows, dtype=np.int32) < counts[..., None]
        row = np.where(valid, scores, 0.0)
        if "window" in data:
            # The last n_window queries: older batches give way to newer ones, in whole or in part.
            older = max(0, min(self._window_queries, self.n_window - n_queries))
            data["window"] *= older / max(1, self._window_queries)
            data["window"][..., :n_rows] += min(n_queries, self.n_window) * row
            self._window_queries = older + min(n_queries, self.n_window)
        if "ema_sum" in data and text:
            for name, value in (("ema_sum", row), ("ema_weight", valid)):
                data[name] *= self.decay
                data[name][..., :n_rows] += value
        if "total" in data:
            data["total"][..., :n_rows] += n_queries * row
            data["seen"][..., :n_rows] += n_queries * valid
        if "mean" in data:
            data["n_observed"][..., :n_rows] += valid
            n = np.maximum(data["n_observed"][..., :n_rows], 1)
            delta = np.where(valid, row - data["mean"][..., :n_rows], 0.0)
            data["mean"][..., :n_rows] += delta / n
            data["square"][..., :n_rows] += delta * np.where(
                valid, row - data["mean"][..., :n_rows], 0.0
            )

    def kept(self, rows: Rows) -> None:
        """Follow a keep: row i of a head becomes what its i-th kept row was."""
        width = int(rows.count.max(initial=0))
        offset = rows.offset
        # Layer by layer: at once this takes several times the memory of the statistics themselves.
        for layer, counts in enumerate(rows.count if self._data else ()):
            valid = np.arange(width, dtype=np.int32) < counts[:, None]
            gather = np.zeros(valid.shape, np.int32)
            first = int(offset[layer, 0])
            gather[valid] = rows.index[first : first + int(counts.sum())]
            for array in self._data.values():
                moved = np.take_along_axis(array[layer], gather, axis=1)
                array[layer, :, :width] = np.where(valid, moved, 0.0)
                array[layer, :, width:] = 0.0

    def append(self, other: RowStatistics, counts: IntArray, added: IntArray) -> None:
        """Follow an append: `added` [L, H] rows of another cache came after the `counts` [L, H]
        that were there, with what was observed of them.
        """
        # The window is kept as a sum over its queries: both must have as many.
        if self._window_queries == 0:
            self._window_queries = other._window_queries
        weight = self._window_queries / max(1, other._window_queries)
        for layer, head in np.ndindex(counts.shape):
            start, n = int(counts[layer, head]), int(added[layer, head])
            for name, array in self._data.items():
                rows = other._data[name][layer, head, :n]
                array[layer, head, start : start + n] = rows * weight if name == "window" else rows

    def truncate(self, counts: IntArray) -> None:
        """Forget rows at or beyond `counts`."""
        for array in self._data.values():
            array[np.arange(array.shape[2]) >= counts[..., None]] = 0.0
        if not counts.any():
            # Queries that no row has seen must not weigh on the rows to come.
            self._window_queries = 0

    def read(self, need: str, n_rows: int) -> tuple[FloatArray, FloatArray]:
        """Arrays [L, H, n_rows]: "ema" mean and weight, "total" sum and queries that saw a row,
        "variance" variance and observations, "scores" mean of the window and its queries.
        """
        cut = {name: array[..., :n_rows] for name, array in self._data.items()}
        if need == "scores":
            queries = np.full(1, self._window_queries, np.float32)
            return cut["window"] / np.float32(max(1, self._window_queries)), queries
        if need == "ema":
            weight = cut["ema_weight"]
            return np.divide(cut["ema_sum"], np.maximum(weight, np.float32(1e-12))), weight.copy()
        if need == "total":
            return cut["total"].copy(), cut["seen"].copy()
        n = cut["n_observed"]
        return np.divide(cut["square"], np.maximum(n, np.float32(1))), n.copy()
