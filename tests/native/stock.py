"""llama.cpp's own cache, to compare with: the unpatched library's if built, else ours."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from edge_audiokv.native.library import directory, load

ROW_TYPES = {"f16": 1, "q8_0": 8, "q4_0": 2}

GetMask = Callable[[int], NDArray[np.bool_]]
"""layer -> hidden rows, bool [H, T]"""


class Tensor(ctypes.Structure):
    """The head of struct ggml_tensor."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("buffer", ctypes.c_void_p),
        ("ne", ctypes.c_int64 * 4),
        ("nb", ctypes.c_size_t * 4),
    )


def has_unpatched() -> bool:
    return (directory() / "libeakv-llama-stock.so").is_file()


def unpatched() -> Any:
    """The bindings over the unpatched library (EDGE_AUDIOKV_BUILD_STOCK=ON), in this process."""
    name = "eakv_stock"
    if f"{name}.llama_cpp" not in sys.modules:
        load()
        init = directory() / "_llama_cpp" / "__init__.py"
        spec = importlib.util.spec_from_file_location(
            name, init, submodule_search_locations=[str(init.parent)]
        )
        assert spec and spec.loader
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
        os.environ["EDGE_AUDIOKV_LIB_NAME"] = "eakv-llama-stock"
        try:
            llama: Any = importlib.import_module(f"{name}.llama_cpp")
        finally:
            del os.environ["EDGE_AUDIOKV_LIB_NAME"]
        quiet = llama.llama_log_callback(lambda *_: None)
        llama.llama_log_set(quiet, None)
        llama._quiet = quiet
        llama.llama_backend_init()
    return sys.modules[f"{name}.llama_cpp"]


def reference() -> Any:
    """The unpatched library if there is one, else the stock cache inside ours."""
    return unpatched() if has_unpatched() else load().llama


def f32_copy(source: Path, target: Path) -> None:
    llama = load().llama
    params = llama.llama_model_quantize_default_params()
    params.ftype, params.allow_requantize = 0, True
    code = llama.llama_model_quantize(
        str(source).encode(), str(target).encode(), ctypes.byref(params)
    )
    assert code == 0


class StockContext:
    """llama.cpp's plain KV cache, one thread, teacher-forced.

    With `get_mask` attention runs unfused, and the logits of hidden (layer, KV head, row) triples
    are set to -inf between Q K^T and the softmax.
    """

    def __init__(
        self,
        path: Path,
        n_ctx: int,
        *,
        type_k: str = "f16",
        type_v: str = "f16",
        n_batch: int = 256,
        flash: bool = True,
        get_mask: GetMask | None = None,
        llama: Any = None,
    ) -> None:
        self.llama = llama or reference()
        params = self.llama.llama_model_default_params()
        params.n_gpu_layers = 0
        self.model = self.llama.llama_model_load_from_file(str(path).encode(), params)
        assert self.model
        p = self.llama.llama_context_default_params()
        p.n_ctx, p.n_batch, p.n_ubatch, p.n_outputs_max = n_ctx, n_batch, n_batch, n_batch
        p.n_threads = p.n_threads_batch = 1
        p.flash_attn_type = int(flash and get_mask is None)
        p.type_k, p.type_v = ROW_TYPES[type_k], ROW_TYPES[type_v]
        self._get_mask = get_mask
        if get_mask is not None:
            base = ctypes.CDLL(str(next(directory().glob("libeakv-ggml-base.*"))))
            self._name = base.ggml_get_name
            self._name.restype, self._name.argtypes = ctypes.c_char_p, [ctypes.c_void_p]
            self._data = base.ggml_get_data
            self._data.restype, self._data.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
            self._callback = self.llama.ggml_backend_sched_eval_callback(self._visit)
            p.cb_eval = self._callback
        self.ctx = self.llama.llama_init_from_model(self.model, p)
        assert self.ctx
        vocab = self.llama.llama_model_get_vocab(self.model)
        self.n_vocab = self.llama.llama_vocab_n_tokens(vocab)
        self.n_embd = self.llama.llama_model_n_embd(self.model)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.llama.llama_free(self.ctx)
        self.llama.llama_model_free(self.model)

    def _visit(self, tensor: int, ask: bool, _data: object) -> bool:
        name = self._name(tensor)
        if not name.startswith(b"kq-"):
            return not ask
        if ask:
            return True
        assert self._get_mask is not None
        n_kv, n_tokens, n_head, _ = Tensor.from_address(tensor).ne
        hidden = self._get_mask(int(name[3:]))[:, :n_kv]
        pointer = ctypes.cast(self._data(tensor), ctypes.POINTER(ctypes.c_float))
        kq = np.ctypeslib.as_array(pointer, (n_head, n_tokens, n_kv))
        group = n_head // len(hidden)
        for head, rows in enumerate(hidden):
            kq[head * group : (head + 1) * group, :, np.flatnonzero(rows)] = -np.inf
        return True

    def decode(
        self, ids: Sequence[int] | NDArray[np.int32] | None, emb: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Append a chunk of at most n_batch; the last token's logits."""
        batch = self.llama.llama_batch()
        if ids is not None:
            array = np.ascontiguousarray(ids, np.int32)
            batch.token = array.ctypes.data_as(ctypes.POINTER(ctypes.c_int32))
            batch.n_tokens = len(array)
        if emb is not None:
            emb = np.ascontiguousarray(emb, np.float32)
            batch.embd = emb.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
            batch.n_tokens = len(emb)
        assert self.llama.llama_decode(self.ctx, batch) == 0
        pointer = self.llama.llama_get_logits_ith(self.ctx, -1)
        return np.ctypeslib.as_array(pointer, (self.n_vocab,)).copy()
