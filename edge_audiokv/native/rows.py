"""What can be done to the rows of a head-wise cache: read, keep, truncate, shift, move, append,
save.

L layers, H KV heads a layer, T rows of a head, D head dimension. Rows of a head are in order of
position.
"""

from __future__ import annotations

import ctypes
import threading
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_audiokv.errors import ModelError, NativeError
from edge_audiokv.kv.shape import FloatArray, IntArray, KVShape, Rows
from edge_audiokv.native import bindings
from edge_audiokv.native.guarding import exclusive, int32, int32_array
from edge_audiokv.native.model import Model


def int_pointer(array: IntArray) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))


def float_pointer(array: FloatArray) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(ctypes.c_float))


class CacheRows:
    """The rows of a context's cache. `HeadwiseContext` makes and owns the cache.

    Any thread may call; one at a time is let in, and `close` waits for the call in progress.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.lock = threading.RLock()
        self._ctx: Any = None

    @property
    def shape(self) -> KVShape:
        """Dimensions and row types of the cache."""
        return self.model.shape

    @property
    def counts(self) -> IntArray:
        """Rows each head holds now, int32 [L, H]."""
        return self._layout(2)

    @property
    @exclusive
    def free_rows(self) -> int:
        """Tokens that can still be appended before some head is full."""
        return int(self._hw.free_rows(self._need()))

    @property
    @exclusive
    def next_position(self) -> int:
        """Position the next token will get. Evicting does not lower it."""
        position = ctypes.c_int32()
        self._check(self._hw.next_position(self._need(), ctypes.byref(position)))
        return position.value

    def scores(self) -> FloatArray:
        """Mean attention probability of each row, float32 [L, H, max(counts)].

        The mean is over the last scored batch's window and the query group; a head's rows sum to 1
        when they are scored. Rows keep their score through `keep`; rows appended later have 0.
        """
        return self._rows_array(self._hw.get_scores, np.dtype(np.float32), ctypes.c_float)

    def positions(self) -> IntArray:
        """Position of each row, int32 [L, H, max(counts)], -1 beyond a head's end."""
        return self._rows_array(self._hw.get_positions, np.dtype(np.int32), ctypes.c_int32)

    @exclusive
    def keep(self, rows: Rows) -> None:
        """Keep these rows of every head, drop the others, close the gaps.

        Raises NativeError, and changes nothing, if rows of a head do not ascend or exist, or if
        heads of one level would hold different numbers of rows.
        """
        count = int32_array(rows.count, "Counts of rows to keep")
        index = int32_array(rows.index, "Rows to keep")
        expected = (self.shape.n_layer, self.shape.n_kv_head)
        if count.shape != expected:
            raise NativeError(f"Keep lists are {list(count.shape)}, the cache is {list(expected)}.")
        self._check(self._hw.keep(self._need(), int_pointer(count), int_pointer(index), index.size))

    @exclusive
    def truncate(self, position: int) -> None:
        """Drop every row at `position` or later; the next token gets `position` (if it was passed).

        Raises NativeError if it is negative, or if heads of a level kept different numbers of rows
        before it.
        """
        self._check(self._hw.truncate(self._need(), int32(position, "The position")))

    @exclusive
    def shift(self, delta: int, *, from_position: int | None = None) -> None:
        """Add `delta` to all positions from `from_position` on (default: all), turning the keys.

        Not for q4_0 keys. Rows before `from_position` stay where they are and must stay before.
        Raises NativeError, and changes nothing, if a position would fall below 0, or if rows that
        stay would not lie before those that move and before the next token.
        """
        start = -(2**31) if from_position is None else int32(from_position, "The first position")
        self._check(self._hw.shift(self._need(), int32(delta, "The shift"), start))

    @exclusive
    def move(self, positions: IntArray, next_position: int) -> None:
        """Give every row a position of its own, turning its key, and the next token another one.

        `positions` holds those of each head's rows, [L, H] after each other without padding: they
        ascend within a head and lie below `next_position`, which is at most the trained context (or
        what it was, if that is more). Not for q4_0 keys. Raises NativeError, and changes nothing,
        for anything else.
        """
        given = int32_array(positions, "Positions").reshape(-1)
        self._check(
            self._hw.move(
                self._need(),
                int_pointer(given),
                given.size,
                int32(next_position, "The next position"),
            )
        )

    def append_rows(self, source: CacheRows) -> None:
        """Copy all rows of `source` to the ends of this cache's heads, positions and keys as they
        are. `source` keeps them.

        Raises NativeError, and changes nothing, if `source` is another model's or has other row
        types, if its positions do not come after this cache's (`source.shift` first), if rows do
        not fit, or if heads of one level would hold different numbers of rows.
        """
        with ExitStack() as both:
            # In one order everywhere, so that two threads cannot wait for each other.
            for cache in sorted((self, source), key=id):
                both.enter_context(cache.lock)
            self._check(self._hw.append_rows(self._need(), source._need()))

    @exclusive
    def read_keys(self, layer: int, head: int) -> FloatArray:
        """All keys of one head, float32 [T, D], with their rotary position."""
        return self._read(self._hw.read_keys, layer, head)

    @exclusive
    def read_values(self, layer: int, head: int) -> FloatArray:
        """All values of one head, float32 [T, D]."""
        return self._read(self._hw.read_values, layer, head)

    @exclusive
    def write_values(self, layer: int, head: int, rows: IntArray, values: FloatArray) -> None:
        """Overwrite value rows `rows` [N] of one head with `values` float32 [N, D].

        Raises NativeError, and changes nothing, if a row does not exist or a value is not finite in
        the row type.
        """
        index = int32_array(rows, "Rows to write")
        data = np.ascontiguousarray(values, dtype=np.float32)
        if data.shape != (index.size, self.shape.head_dim):
            raise NativeError(
                f"Values must be [{index.size}, {self.shape.head_dim}], not {list(data.shape)}."
            )
        self._check(
            self._hw.write_values(
                self._need(),
                int32(layer, "The layer"),
                int32(head, "The head"),
                int_pointer(index),
                index.size,
                float_pointer(data),
            )
        )

    @exclusive
    def clear(self) -> None:
        """Drop all rows, their bytes too, and start again at position 0."""
        llama = self.model.library.llama
        self._need()
        llama.llama_memory_clear(llama.llama_get_memory(self._llama_ctx), True)

    @exclusive
    def save_state(self) -> bytes:
        """The rows in use, with positions. Scores are not saved.

        Raises NativeError if the rows are such that `load_state` would refuse them.
        """
        llama = self.model.library.llama
        self._need()
        size = llama.llama_state_seq_get_size(self._llama_ctx, 0)
        buffer = (ctypes.c_uint8 * size)()
        written = llama.llama_state_seq_get_data(self._llama_ctx, buffer, size, 0)
        if written != size:
            raise NativeError("The state could not be saved.")
        code = self._hw.check_state(self._need(), buffer, size)
        if code != bindings.OK:
            raise NativeError(
                f"The state cannot be saved, as it could not be loaded: {self._hw.message()}.",
                code=code,
            )
        return bytes(buffer)

    @exclusive
    def load_state(self, state: bytes) -> None:
        """Take up a saved state, in place of what the cache holds.

        The model and row types must be the same, and the rows must fit this context's capacities
        and levels. Raises NativeError otherwise, also for a damaged state, and changes nothing.
        """
        llama = self.model.library.llama
        buffer = (ctypes.c_uint8 * len(state)).from_buffer_copy(state)
        code = self._hw.check_state(self._need(), buffer, len(state))
        if code != bindings.OK:
            raise NativeError(f"The state cannot be loaded: {self._hw.message()}.", code=code)
        self.model.library.complaints.clear()
        read = llama.llama_state_seq_set_data(self._llama_ctx, buffer, len(state), 0)
        if not state or read != len(state):
            why = " ".join(list(self.model.library.complaints)[-1:]) or "it is damaged"
            raise NativeError(f"The state cannot be loaded: {why.split(': ')[-1]}.")

    @property
    def _hw(self) -> bindings.Headwise:
        return self.model.library.hw

    @property
    def _llama_ctx(self) -> Any:
        return ctypes.c_void_p(self._ctx)

    def _need(self) -> Any:
        if self._ctx is None:
            raise NativeError("The context is not loaded.", cure="Call load() first.")
        return self._ctx

    def _check(self, code: int) -> None:
        if code == bindings.OK:
            return
        message = f"{self._hw.message()}."
        if code == bindings.UNSUPPORTED and "architecture" in message:
            raise ModelError(message, cure="Use a model with plain full attention.")
        raise NativeError(message, code=code)

    @exclusive
    def _layout(self, which: int) -> IntArray:
        shape = self.model.shape
        out = np.empty((shape.n_layer, shape.n_kv_head), np.int32)
        pointers = [None, None, None]
        pointers[which] = int_pointer(out)
        self._check(self._hw.layout(self._need(), *pointers))
        return out

    @exclusive
    def _rows_array(self, call: Any, dtype: np.dtype[Any], ctype: Any) -> NDArray[Any]:
        counts = self.counts
        out = np.empty((*counts.shape, int(counts.max())), dtype)
        pointer = out.ctypes.data_as(ctypes.POINTER(ctype))
        self._check(call(self._need(), pointer, out.shape[2]))
        return out

    def _read(self, call: Any, layer: int, head: int) -> FloatArray:
        shape = self.model.shape
        layer, head = int32(layer, "The layer"), int32(head, "The head")
        if not (0 <= layer < shape.n_layer and 0 <= head < shape.n_kv_head):
            raise NativeError(f"There is no KV head {head} in layer {layer}.")
        out = np.empty((int(self.counts[layer, head]), shape.head_dim), np.float32)
        self._check(call(self._need(), layer, head, float_pointer(out)))
        return out
