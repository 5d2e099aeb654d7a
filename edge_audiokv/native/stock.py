"""llama.cpp's own KV cache, to compare the head-wise one with: for tests and benchmarks only."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any, Self

import numpy as np

from edge_audiokv.errors import ModelError, NativeError
from edge_audiokv.kv.shape import FloatArray, IntArray
from edge_audiokv.lifetime import Loadable
from edge_audiokv.native.library import directory, load

ROW_TYPES = {"f32": 0, "f16": 1, "q8_0": 8, "q4_0": 2}  # enum ggml_type

_PACKAGE = "edge_audiokv_stock_llama_cpp"


def has_unpatched() -> bool:
    """Was the unpatched library built too (EDGE_AUDIOKV_BUILD_STOCK=ON)?"""
    return any(directory().glob("libeakv-llama-stock.*"))


def unpatched() -> Any:
    """llama.cpp's functions from the unpatched library, loaded beside ours in this process."""
    module = f"{_PACKAGE}.llama_cpp"
    if module not in sys.modules:
        load()  # it shares ggml with ours
        init = directory() / "_llama_cpp" / "__init__.py"
        spec = importlib.util.spec_from_file_location(
            _PACKAGE, init, submodule_search_locations=[str(init.parent)]
        )
        if spec is None or spec.loader is None or not has_unpatched():
            raise NativeError(
                f"There is no unpatched library in {directory()}.",
                cure="Build with EDGE_AUDIOKV_BUILD_STOCK=ON.",
            )
        sys.modules[_PACKAGE] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[_PACKAGE])
        os.environ["EDGE_AUDIOKV_LIB_NAME"] = "eakv-llama-stock"
        try:
            llama: Any = importlib.import_module(module)
        finally:
            del os.environ["EDGE_AUDIOKV_LIB_NAME"]
        quiet = llama.llama_log_callback(lambda *_: None)
        llama.llama_log_set(quiet, None)
        llama._quiet = quiet  # C keeps the pointer: it must live as long
        llama.llama_backend_init()
        # llama_log_set also set ggml's log, which both libraries share: give it back to ours
        ours = load().llama
        ours.llama_log_set(ours._edge_audiokv_log_callback, None)
    return sys.modules[module]


def reference() -> Any:
    """The unpatched library's functions if it was built, else the stock cache inside ours."""
    return unpatched() if has_unpatched() else load().llama


class StockContext(Loadable):
    """A plain cache of `n_ctx` rows over its own copy of the weights, with fused attention."""

    def __init__(
        self,
        path: Path,
        n_ctx: int,
        *,
        type_k: str = "f16",
        type_v: str = "f16",
        n_batch: int = 256,
        n_threads: int = 1,
        n_outputs: int = 1,
        llama: Any = None,
    ) -> None:
        self.path, self.n_ctx, self.n_batch = path, n_ctx, n_batch
        self.type_k, self.type_v = type_k, type_v
        self.n_threads, self.n_outputs = n_threads, n_outputs
        self.llama = llama or reference()
        self.n_vocab = 0
        self.ctx: Any = None
        self._model: Any = None

    def load(self) -> Self:
        """Read the weights and allocate the cache."""
        if self.ctx is not None:
            return self
        llama = self.llama
        params = llama.llama_model_default_params()
        params.n_gpu_layers = 0
        self._model = llama.llama_model_load_from_file(str(self.path).encode(), params)
        if not self._model:
            raise ModelError(f"{self.path} cannot be loaded.")
        self.ctx = llama.llama_init_from_model(self._model, self.context_params())
        if not self.ctx:
            raise NativeError("The stock context could not be created.")
        self.n_vocab = llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(self._model))
        return self

    def context_params(self) -> Any:
        """llama_context_params, for `load`."""
        p = self.llama.llama_context_default_params()
        p.n_ctx, p.n_outputs_max = self.n_ctx, self.n_outputs
        p.n_batch = p.n_ubatch = self.n_batch
        p.n_threads = p.n_threads_batch = self.n_threads
        p.flash_attn_type = 1
        p.type_k, p.type_v = ROW_TYPES[self.type_k], ROW_TYPES[self.type_v]
        p.no_perf = True
        return p

    def close(self) -> None:
        if self.ctx is not None:
            self.llama.llama_free(self.ctx)
        if self._model is not None:
            self.llama.llama_model_free(self._model)
        self.ctx = self._model = None

    @property
    def state_nbytes(self) -> int:
        """Bytes of the rows in use."""
        return int(self.llama.llama_state_seq_get_size(self.ctx, 0))

    def decode(self, ids: IntArray | None, emb: FloatArray | None = None) -> FloatArray:
        """Append tokens [T] or embeddings [T, n_embd], T <= n_batch; the last one's logits [V]."""
        batch = self.llama.llama_batch()
        if ids is not None:
            ids = np.ascontiguousarray(ids, np.int32)
            batch.token = ids.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
            batch.n_tokens = len(ids)
        if emb is not None:
            emb = np.ascontiguousarray(emb, np.float32)
            batch.embd = emb.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
            batch.n_tokens = len(emb)
        if code := self.llama.llama_decode(self.ctx, batch):
            raise NativeError(f"llama_decode failed with code {code}.", code=code)
        pointer = self.llama.llama_get_logits_ith(self.ctx, -1)
        return np.ctypeslib.as_array(pointer, (self.n_vocab,)).copy()

    def truncate(self, position: int) -> None:
        """Drop every row at `position` or later."""
        memory = self.llama.llama_get_memory(self.ctx)
        self.llama.llama_memory_seq_rm(memory, 0, position, -1)
