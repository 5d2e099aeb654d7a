"""What goes into each weight matrix while a context decodes, seen through llama.cpp's callback.

llama.cpp can ask about every node of a graph before it is computed, and hand it over afterwards
(`cb_eval`); its own llama-imatrix works so. Nothing is stored but sums of squares.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_audiokv.errors import NativeError
from edge_audiokv.kv.shape import FloatArray, IntArray
from edge_audiokv.native.context import HeadwiseContext
from edge_audiokv.native.model import Model

_F32 = 0
_MAX_DIMS, _MAX_SRC, _MAX_NAME, _OP_PARAMS = 4, 10, 64, 16


class _Tensor(ctypes.Structure):
    """struct ggml_tensor, of the llama.cpp that this package is built with."""


_Tensor._fields_ = (
    ("type", ctypes.c_int),
    ("buffer", ctypes.c_void_p),
    ("ne", ctypes.c_int64 * _MAX_DIMS),
    ("nb", ctypes.c_size_t * _MAX_DIMS),
    ("op", ctypes.c_int),
    ("op_params", ctypes.c_int32 * _OP_PARAMS),
    ("flags", ctypes.c_int32),
    ("src", ctypes.POINTER(_Tensor) * _MAX_SRC),
    ("view_src", ctypes.c_void_p),
    ("view_offs", ctypes.c_size_t),
    ("data", ctypes.c_void_p),
    ("name", ctypes.c_char * _MAX_NAME),
    ("extra", ctypes.c_void_p),
    ("padding", ctypes.c_char * 8),
)


class WatchedContext(HeadwiseContext):
    """A context that sums the squares of what goes into the layers' weight matrices.

    `square_sums` float64 [N] and `row_counts` by the matrix's name, of every row that was decoded
    since `load`. Experts' matrices are not watched. The weights must lie in the machine's memory.
    """

    def __init__(self, model: Model, capacity: IntArray | int, **options: Any) -> None:
        super().__init__(model, capacity, score_window=0, **options)
        self.square_sums: dict[str, NDArray[np.float64]] = {}
        self.row_counts: dict[str, int] = {}
        self._fault: BaseException | None = None
        self._callback: Any = None
        self._mul_mat = -1

    def _context_params(self, capacity: IntArray) -> Any:
        if self.model.device is not None:
            raise NativeError(
                "Activations are gathered on the CPU alone.", cure="Load the model without layers"
                " on a device."
            )  # fmt: skip
        params = super()._context_params(capacity)
        llama = self.model.library.llama
        op_name = llama._lib.ggml_op_name
        op_name.argtypes, op_name.restype = [ctypes.c_int], ctypes.c_char_p
        self._mul_mat = next(op for op in range(256) if op_name(op) == b"MUL_MAT")
        self._callback = llama.ggml_backend_sched_eval_callback(self._watch)
        params.cb_eval = self._callback
        return params

    def _decode_chunk(
        self, tokens: IntArray | None, emb: FloatArray | None, size: int, n_outputs: int
    ) -> None:
        super()._decode_chunk(tokens, emb, size, n_outputs)
        fault, self._fault = self._fault, None
        if fault is not None:
            raise fault

    def _watch(self, pointer: int, ask: bool, _data: object) -> bool:
        """True if the node is to be shown, and then if all is well: C takes no exception."""
        try:
            node = ctypes.cast(pointer, ctypes.POINTER(_Tensor)).contents
            if node.op != self._mul_mat:
                return not ask
            weights, rows = node.src[0].contents, node.src[1].contents
            name = weights.name.decode("utf-8", "replace")
            if not (name.startswith("blk.") and name.endswith(".weight")) or rows.type != _F32:
                return not ask
            if not ask:
                self._add(name, rows)
            return True
        except BaseException as error:  # Ctrl-C, too, arrives here
            self._fault = error
            return False

    def _add(self, name: str, rows: _Tensor) -> None:
        width = int(rows.ne[0])
        shape = tuple(reversed(rows.ne))
        data = ctypes.cast(rows.data, ctypes.POINTER(ctypes.c_float))
        first = np.ctypeslib.as_array(data, (1,))
        values = np.lib.stride_tricks.as_strided(first, shape, tuple(reversed(rows.nb)))
        wide = values.reshape(-1, width).astype(np.float64)
        squares = (wide**2).sum(0)
        if not np.isfinite(squares).all():
            raise NativeError(f"What goes into {name} is not finite.")
        self.square_sums[name] = self.square_sums.get(name, np.zeros(width)) + squares
        self.row_counts[name] = self.row_counts.get(name, 0) + len(wide)
