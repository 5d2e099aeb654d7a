"""A cache in numpy with the native context's row semantics, for tests of the controller."""

from __future__ import annotations

import numpy as np

from edge_audiokv.kv.shape import FloatArray, IntArray, KVShape, Rows


class NumpyCache:
    """Rows as lists of positions; scores are softmax of seeded logits by position."""

    def __init__(self, shape: KVShape, capacity: IntArray, seed: int = 0) -> None:
        self.shape, self.capacity = shape, np.asarray(capacity)
        self.seed, self.next_position = seed, 0
        self.heads = [[[] for _ in range(shape.n_kv_head)] for _ in range(shape.n_layer)]
        self.vectors: dict[tuple[int, int, int], FloatArray] = {}
        self.peak = 0
        self.fixed_scores: FloatArray | None = None

    def append(self, n: int) -> None:
        assert (self.counts + n <= self.capacity).all(), "a head overflowed"
        new = list(range(self.next_position, self.next_position + n))
        for layer in self.heads:
            for rows in layer:
                rows.extend(new)
        self.next_position += n
        self.peak = max(self.peak, int(self.counts.sum()))

    @property
    def counts(self) -> IntArray:
        return np.array([[len(rows) for rows in layer] for layer in self.heads], np.int32)

    def positions(self) -> IntArray:
        out = np.full((*self.counts.shape, int(self.counts.max())), -1, np.int32)
        for i_layer, layer in enumerate(self.heads):
            for h, rows in enumerate(layer):
                out[i_layer, h, : len(rows)] = rows
        return out

    def scores(self) -> FloatArray:
        positions = self.positions()
        if self.fixed_scores is not None:
            base = self.fixed_scores[..., : positions.shape[2]]
            return np.where(positions >= 0, base, 0).astype(np.float32)
        rng = np.random.default_rng(self.seed)
        table = rng.exponential(size=(*self.counts.shape, max(1, self.next_position)))
        picked = np.take_along_axis(table, np.maximum(positions, 0), axis=2)
        picked = np.where(positions >= 0, picked, 0)
        return (picked / picked.sum(axis=2, keepdims=True)).astype(np.float32)

    def keep(self, rows: Rows) -> None:
        for i_layer, layer in enumerate(self.heads):
            for h, held in enumerate(layer):
                index = rows.of(i_layer, h)
                assert (np.diff(index) > 0).all()
                layer[h] = [held[i] for i in index]

    def move(self, positions: IntArray, next_position: int) -> None:
        start = 0
        for layer in self.heads:
            for h, held in enumerate(layer):
                layer[h] = positions[start : start + len(held)].tolist()
                start += len(held)
                assert layer[h] == sorted(set(layer[h])), "positions must ascend"
                assert not held or 0 <= layer[h][0] <= layer[h][-1] < next_position
        assert start == len(positions)
        self.next_position = next_position

    def truncate(self, position: int) -> None:
        for layer in self.heads:
            for h, held in enumerate(layer):
                layer[h] = [p for p in held if p < position]
        self.next_position = min(self.next_position, position)

    def _vectors(self, layer: int, head: int, part: int) -> FloatArray:
        held = self.heads[layer][head]
        rng = np.random.default_rng([self.seed, layer, head, part])
        table = rng.standard_normal((self.next_position, self.shape.head_dim)).astype(np.float32)
        out = table[held]
        for i, position in enumerate(held):
            if part and (layer, head, position) in self.vectors:
                out[i] = self.vectors[layer, head, position]
        return out

    def read_keys(self, layer: int, head: int) -> FloatArray:
        return self._vectors(layer, head, 0)

    def read_values(self, layer: int, head: int) -> FloatArray:
        return self._vectors(layer, head, 1)

    def write_values(self, layer: int, head: int, rows: IntArray, values: FloatArray) -> None:
        held = self.heads[layer][head]
        for row, value in zip(rows, values, strict=True):
            self.vectors[layer, head, held[int(row)]] = value
