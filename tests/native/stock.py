"""The stock cache with single rows of single heads masked, and an f32 copy of a model."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_audiokv.native.library import directory, load
from edge_audiokv.native.stock import StockContext

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


class TensorReader:
    """Names and host data of the tensors that an evaluation callback is shown."""

    def __init__(self) -> None:
        base = ctypes.CDLL(str(next(directory().glob("libeakv-ggml-base.*"))))
        self._name, self._data = base.ggml_get_name, base.ggml_get_data
        self._name.restype, self._name.argtypes = ctypes.c_char_p, [ctypes.c_void_p]
        self._data.restype, self._data.argtypes = ctypes.c_void_p, [ctypes.c_void_p]

    def name(self, tensor: int) -> str:
        return str(self._name(tensor), "ascii", "replace")

    def floats(self, tensor: int) -> NDArray[np.float32]:
        """The tensor's own memory, [ne2, ne1, ne0]."""
        ne = Tensor.from_address(tensor).ne
        pointer = ctypes.cast(self._data(tensor), ctypes.POINTER(ctypes.c_float))
        return np.ctypeslib.as_array(pointer, (ne[2], ne[1], ne[0]))


class MaskedContext(StockContext):
    """Attention runs unfused; the logits of hidden (layer, KV head, row) triples become -inf
    between Q K^T and the softmax."""

    def __init__(self, path: Path, n_ctx: int, get_mask: GetMask, **options: Any) -> None:
        super().__init__(path, n_ctx, **options)
        self._get_mask = get_mask
        self._reader = TensorReader()
        self._callback = self.llama.ggml_backend_sched_eval_callback(self._visit)

    def context_params(self) -> Any:
        params = super().context_params()
        params.flash_attn_type, params.cb_eval = 0, self._callback
        return params

    def _visit(self, tensor: int, ask: bool, _user: object) -> bool:
        name = self._reader.name(tensor)
        if not name.startswith("kq-"):
            return not ask
        if not ask:
            kq = self._reader.floats(tensor)  # [n_head, T, n_kv]
            hidden = self._get_mask(int(name[3:]))[:, : kq.shape[2]]
            group = len(kq) // len(hidden)
            for head, rows in enumerate(hidden):
                kq[head * group : (head + 1) * group, :, np.flatnonzero(rows)] = -np.inf
        return True


def f32_copy(source: Path, target: Path) -> None:
    """The same weights, dequantised."""
    llama = load().llama
    params = llama.llama_model_quantize_default_params()
    params.ftype, params.allow_requantize = 0, True
    code = llama.llama_model_quantize(
        str(source).encode(), str(target).encode(), ctypes.byref(params)
    )
    assert code == 0
