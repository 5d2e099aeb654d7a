"""A decoding context whose KV cache is head-wise: every KV head keeps its own rows.

L layers, H KV heads a layer, T rows of a head, V vocabulary. Heads of one level (`level` [L, H])
have equal capacities and must always hold equally many rows, each its own choice.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from edge_audiokv.errors import CacheFullError, MemoryBudgetError, ModelError, NativeError
from edge_audiokv.kv.shape import FloatArray, IntArray, KVShape
from edge_audiokv.lifetime import Loadable
from edge_audiokv.native import bindings
from edge_audiokv.native.guarding import exclusive, int32, int32_array
from edge_audiokv.native.model import Model
from edge_audiokv.native.rows import CacheRows, int_pointer
from edge_audiokv.native.threads import default_threads

_ROW_TYPES = {"f16": 1, "q8_0": 8, "q4_0": 2}  # enum ggml_type


class HeadwiseContext(CacheRows, Loadable):
    """One sequence over a head-wise cache of fixed size.

    `capacity` is rows per head, int32 [L, H] or one number for all. Capacities are rounded up to a
    multiple of 64 rows (256 on a device) and to at most `max_levels` different ones; `plan` tells
    the result before anything is allocated. `n_batch` is the micro-batch in tokens. `score_window`
    is the most query positions that a scored batch averages over, 0 to go without scores.
    `n_outputs` is the most logit rows one micro-batch can give (memory: n_outputs * V * 8 bytes).
    Without `n_threads` it takes `default_threads`; while other contexts of the model compute, too,
    they divide them. Where all layers are on a device the rows are there, too, unless
    `rows_on_host`; else they are in the machine's memory, where attention is then computed.
    Everything is allocated by `load`; nothing grows later.
    """

    def __init__(
        self,
        model: Model,
        capacity: IntArray | int,
        *,
        type_k: str = "f16",
        type_v: str = "f16",
        n_batch: int = 256,
        max_levels: int = 8,
        score_window: int = 32,
        n_threads: int | None = None,
        n_outputs: int = 1,
        rows_on_host: bool = False,
    ) -> None:
        for name in (type_k, type_v):
            if name not in _ROW_TYPES:
                raise NativeError(
                    f"Unknown row type {name!r}.", cure=f"Use one of {', '.join(_ROW_TYPES)}."
                )
        numbers = {
            "n_batch": n_batch,
            "n_outputs": n_outputs,
            "max_levels": max_levels,
            "score_window": score_window,
            "n_threads": 1 if n_threads is None else n_threads,
        }
        for name, number in numbers.items():
            int32(number, name)
        if min(n_batch, n_outputs, numbers["n_threads"]) < 1:
            raise NativeError("n_batch, n_outputs and n_threads must be at least 1.")
        super().__init__(model)
        self.type_k, self.type_v = type_k, type_v
        self.n_batch, self.n_outputs = n_batch, min(n_outputs, n_batch)
        self.max_levels, self.score_window = max_levels, score_window
        self.n_threads = self._n_threads_now = default_threads() if n_threads is None else n_threads
        self.rows_on_host = rows_on_host
        self._wanted = capacity
        self._capacity = self._level = np.empty((0, 0), np.int32)

    @exclusive
    def load(self) -> Self:
        """Allocate the cache and reserve the largest compute graph, scores included.

        Raises ModelError for an architecture that cannot be served, MemoryBudgetError if the
        allocation fails, NativeError for bad capacities.
        """
        if self._ctx is not None:
            return self
        with self.model.opening(self):
            self._load()
        return self

    def _load(self) -> None:
        library = self.model.library
        capacity = self._wanted_capacity()
        params = self._hw_params(capacity)
        library.complaints.clear()
        ctx = library.hw.init_from_model(
            self.model.handle, self._context_params(capacity), ctypes.byref(params)
        )
        if not ctx:
            message = library.hw.message()
            if "cannot serve" in message:
                raise ModelError(f"{message}.", cure="Use a model with plain full attention.")
            if "allocate" in " ".join(library.complaints) or "out of memory" in message:
                raise MemoryBudgetError(
                    "The KV cache or its compute buffers could not be allocated.",
                    cure="Lower mem=, kv_share= or the batch size.",
                )
            raise NativeError(f"{message}.", code=bindings.BAD_ARGUMENT)
        self._ctx, self._n_threads_now = ctx, self.n_threads
        if self.model.adapter is not None:
            scale = (ctypes.c_float * 1)(1.0)
            adapters = (library.llama.llama_adapter_lora_p_ctypes * 1)(self.model.adapter)
            library.llama.llama_set_adapters_lora(self._llama_ctx, adapters, 1, scale)
            self._check(self._hw.reserve(ctx))
        self._capacity, self._level = self._layout(0), self._layout(1)

    @exclusive
    def close(self) -> None:
        """Free the cache and the buffers, once the call in progress is over."""
        ctx, self._ctx = self._ctx, None
        if ctx is not None:
            self.model.library.llama.llama_free(ctypes.c_void_p(ctx))
            self.model.forget(self)

    @exclusive
    def plan(self) -> tuple[IntArray, IntArray, int]:
        """What `load` will allocate: capacity [L, H], level [L, H], bytes of the K and V pools.

        Needs the loaded model only. Raises as `load` does.
        """
        capacity = self._wanted_capacity()
        params, size = self._hw_params(capacity), bindings.Bytes()
        rounded, level = np.empty_like(capacity), np.empty_like(capacity)
        self._check(
            self.model.library.hw.plan(
                self.model.handle,
                self._context_params(capacity),
                ctypes.byref(params),
                int_pointer(rounded),
                int_pointer(level),
                ctypes.byref(size),
            )
        )
        return rounded, level, int(size.pools)

    @property
    def shape(self) -> KVShape:
        return replace(self.model.shape, type_k=self.type_k, type_v=self.type_v)

    @property
    def capacity(self) -> IntArray:
        """Rows each head can hold, as allocated, int32 [L, H]."""
        self._need()
        return self._capacity

    @property
    def level(self) -> IntArray:
        """Level of each head, 0 the smallest, int32 [L, H]."""
        self._need()
        return self._level

    @property
    def nbytes(self) -> int:
        """Bytes of pools, scores, positions, compute and logits, but for `device_nbytes`."""
        size = self._bytes()
        logits = 4 * self.n_outputs * self.model.n_vocab
        whole = int(size.pools + size.scores + size.positions + size.compute) + logits
        return whole - self.device_nbytes

    @property
    def rows_on_device(self) -> bool:
        """The rows lie on the device of the model's layers."""
        return self.model.holds_cache_on_device and not self.rows_on_host

    @property
    @exclusive
    def device_nbytes(self) -> int:
        """Bytes that lie in a device's own memory; 0 if it shares the machine's."""
        device = self.model.device
        if device is None or device.unified:
            return 0
        size = ctypes.c_uint64()
        self._check(self._hw.device_bytes(self._need(), ctypes.byref(size)))
        return size.value

    @property
    def pool_nbytes(self) -> int:
        """Bytes of the K and V rows alone, as allocated."""
        return int(self._bytes().pools)

    @property
    def host_pool_nbytes(self) -> int:
        """Bytes of those rows in the machine's memory."""
        device = self.model.device
        apart = device is not None and not device.unified and self.rows_on_device
        return 0 if apart else self.pool_nbytes

    @property
    def compute_nbytes(self) -> int:
        """Bytes of the compute buffers, reserved for the largest graph."""
        return int(self._bytes().compute)

    @exclusive
    def decode_tokens(
        self,
        ids: Sequence[int] | NDArray[np.integer[Any]],
        *,
        logits: bool = True,
        score: bool = False,
        all_logits: bool = False,
    ) -> FloatArray | None:
        """Append T tokens. Returns float32 logits: the last token's [V], every token's [T, V] with
        `all_logits`, None without `logits`. `score` scores the last `score_window` tokens.

        Raises CacheFullError if some head has fewer than T free rows; nothing is appended then.
        """
        tokens = int32_array(ids, "Token ids").reshape(-1)
        if tokens.size and (tokens.min() < 0 or tokens.max() >= self.model.n_vocab):
            raise NativeError(f"Token ids must be 0 to {self.model.n_vocab - 1}.")
        return self._decode(tokens, None, logits=logits, score=score, all_logits=all_logits)

    @exclusive
    def decode_embeddings(
        self,
        emb: FloatArray,
        *,
        logits: bool = False,
        score: bool = False,
        all_logits: bool = False,
    ) -> FloatArray | None:
        """Append T embeddings, float32 [T, n_embd], as `decode_tokens` appends tokens."""
        rows = np.ascontiguousarray(emb, dtype=np.float32)
        if rows.ndim != 2 or rows.shape[1] != self.model.n_embd:
            raise NativeError(
                f"Embeddings must be [T, {self.model.n_embd}], not {list(rows.shape)}.",
                cure="Use the projector that was trained for this model.",
            )
        if not np.isfinite(rows).all():
            raise NativeError("Embeddings hold numbers that are not finite.")
        return self._decode(None, rows, logits=logits, score=score, all_logits=all_logits)

    def _decode(
        self,
        tokens: IntArray | None,
        emb: FloatArray | None,
        *,
        logits: bool,
        score: bool,
        all_logits: bool,
    ) -> FloatArray | None:
        ctx = self._need()
        total = len(tokens) if tokens is not None else len(emb) if emb is not None else 0
        if total == 0:
            raise NativeError("There is nothing to decode.")
        if total > self.free_rows:
            raise CacheFullError(
                f"{total} tokens do not fit: the fullest head can take {self.free_rows} more.",
                cure="Evict rows (keep) or truncate first.",
            )
        if score and self.score_window == 0:
            raise NativeError("This context was made without scores.", cure="Set score_window.")

        out: list[FloatArray] = []
        step = min(self.n_batch, self.n_outputs) if all_logits else self.n_batch
        start = 0
        while start < total:
            size = min(step, total - start)
            left = total - start - size
            if score and 0 < left < self.score_window < size:
                size -= self.score_window - left  # leave a whole window for the last micro-batch
            last = start + size == total
            self._check(self._hw.set_score_window(ctx, self.score_window if score and last else 0))
            wanted = size if all_logits else int(logits and last)
            part = slice(start, start + size)
            self._decode_chunk(
                tokens[part] if tokens is not None else None,
                emb[part] if emb is not None else None,
                size,
                wanted,
            )
            if wanted:
                out.append(self._logits(wanted))
            start += size
        self._check(self._hw.set_score_window(ctx, 0))
        if all_logits:
            return np.concatenate(out)
        return out[0][0] if out else None

    def _decode_chunk(
        self, tokens: IntArray | None, emb: FloatArray | None, size: int, n_outputs: int
    ) -> None:
        llama = self.model.library.llama
        first = self.next_position
        n_ids = self.model.n_position_ids if emb is not None else 1
        # M-RoPE reads id j of token i at pos[j * T + i]; sound uses one time for the first three.
        positions = np.zeros((n_ids, size), np.int32)
        positions[: 3 if n_ids == 4 else 1] = np.arange(first, first + size, dtype=np.int32)
        outputs = np.zeros(size, np.int8)
        outputs[size - n_outputs :] = 1

        batch = llama.llama_batch()
        batch.n_tokens = size
        if tokens is not None:
            batch.token = tokens.ctypes.data_as(ctypes.POINTER(llama.llama_token))
        if emb is not None:
            batch.embd = emb.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        batch.pos = positions.ctypes.data_as(ctypes.POINTER(llama.llama_pos))
        batch.logits = outputs.ctypes.data_as(ctypes.POINTER(ctypes.c_int8))

        self.model.library.complaints.clear()
        with self.model.callers:
            self._take_threads(self.model.callers.share(self.n_threads))
            code = llama.llama_decode(self._llama_ctx, batch)
        if code == 1:
            raise CacheFullError(f"{self._hw.message()}.", cure="Evict rows (keep) first.")
        if code != 0:
            why = " ".join(list(self.model.library.complaints)[-1:]) or "no reason given"
            raise NativeError(f"llama_decode failed with code {code}: {why}.", code=code)

    def _take_threads(self, n_threads: int) -> None:
        if n_threads != self._n_threads_now:
            llama = self.model.library.llama
            llama.llama_set_n_threads(self._llama_ctx, n_threads, n_threads)
            self._n_threads_now = n_threads

    def _logits(self, n: int) -> FloatArray:
        pointer = self.model.library.llama.llama_get_logits(self._llama_ctx)
        return np.ctypeslib.as_array(pointer, (n, self.model.n_vocab)).copy()

    def _wanted_capacity(self) -> IntArray:
        shape = self.model.shape
        want = np.asarray(self._wanted)
        if want.ndim == 0:
            want = np.full((shape.n_layer, shape.n_kv_head), want)
        if want.shape != (shape.n_layer, shape.n_kv_head):
            raise NativeError(
                f"Capacities are {list(want.shape)}, the model has"
                f" {shape.n_layer} layers of {shape.n_kv_head} KV heads."
            )
        return int32_array(want, "Capacities")

    def _hw_params(self, capacity: IntArray) -> bindings.Params:
        return bindings.Params(
            int_pointer(capacity), capacity.size, self.max_levels, self.score_window
        )

    def _context_params(self, capacity: IntArray) -> Any:
        params = self.model.library.llama.llama_context_default_params()
        params.n_ctx = max(int(capacity.max()), self.n_batch)
        params.n_batch = params.n_ubatch = self.n_batch
        params.n_outputs_max = self.n_outputs
        params.n_threads = params.n_threads_batch = self.n_threads
        params.type_k, params.type_v = _ROW_TYPES[self.type_k], _ROW_TYPES[self.type_v]
        # A cache lies in one place.
        params.offload_kqv = self.rows_on_device
        params.no_perf = True
        return params

    @exclusive
    def _bytes(self) -> bindings.Bytes:
        size = bindings.Bytes()
        self._check(self._hw.bytes_of(self._need(), ctypes.byref(size)))
        return size
