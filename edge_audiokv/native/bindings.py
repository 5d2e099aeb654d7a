"""ctypes declarations of llama-headwise.h, each below its C prototype, and of nothing else."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cached_property
from typing import Any

ABI = 1
"""LLAMA_HW_ABI that these declarations match."""

MAX_LEVELS = 16

# enum llama_hw_code
OK = 0
BAD_ARGUMENT = -1
UNSUPPORTED = -2
NOT_HEADWISE = -3
OUT_OF_RANGE = -4
NOT_ASCENDING = -5
UNEQUAL = -6
NO_MEMORY = -7
COMPUTE_FAILED = -8

_i32 = ctypes.c_int32
_i32_p = ctypes.POINTER(ctypes.c_int32)
_f32_p = ctypes.POINTER(ctypes.c_float)
_u64_p = ctypes.POINTER(ctypes.c_uint64)
_void_p = ctypes.c_void_p


class Params(ctypes.Structure):
    """struct llama_hw_params"""

    _fields_ = (
        ("capacity", _i32_p),
        ("n_capacity", _i32),
        ("max_levels", _i32),
        ("score_window", _i32),
    )


class Shape(ctypes.Structure):
    """struct llama_hw_shape"""

    _fields_ = (
        ("n_layer", _i32),
        ("n_head_kv", _i32),
        ("n_group", _i32),
        ("head_dim", _i32),
    )


class Bytes(ctypes.Structure):
    """struct llama_hw_bytes"""

    _fields_ = (
        ("pools", ctypes.c_uint64),
        ("scores", ctypes.c_uint64),
        ("positions", ctypes.c_uint64),
        ("compute", ctypes.c_uint64),
    )


class Headwise:
    """Our functions of the library that `llama` (llama-cpp-python's module) has loaded."""

    def __init__(self, llama: Any) -> None:
        lib = llama._lib
        context_params = llama.llama_context_params

        def function(name: str, restype: Any, *argtypes: Any) -> Callable[..., Any]:
            found: Callable[..., Any] = getattr(lib, name)
            found.argtypes, found.restype = argtypes, restype  # type: ignore[attr-defined]
            return found

        self._function = function

        # int32_t llama_hw_version(int32_t * patch_level, const char ** upstream);
        self.version = function("llama_hw_version", _i32, _i32_p, ctypes.POINTER(ctypes.c_char_p))

        # const char * llama_hw_last_error(void);
        self.last_error = function("llama_hw_last_error", ctypes.c_char_p)

        # int32_t llama_hw_model_shape(const struct llama_model * model,
        #         struct llama_hw_shape * shape);
        self.model_shape = function("llama_hw_model_shape", _i32, _void_p, ctypes.POINTER(Shape))

        # int32_t llama_hw_plan(const struct llama_model * model,
        #         struct llama_context_params cparams, const struct llama_hw_params * params,
        #         int32_t * capacity, int32_t * level, struct llama_hw_bytes * bytes);
        self.plan = function(
            "llama_hw_plan", _i32, _void_p, context_params, ctypes.POINTER(Params),
            _i32_p, _i32_p, ctypes.POINTER(Bytes),
        )  # fmt: skip

        # struct llama_context * llama_hw_init_from_model(struct llama_model * model,
        #         struct llama_context_params cparams, const struct llama_hw_params * params);
        self.init_from_model = function(
            "llama_hw_init_from_model", _void_p, _void_p, context_params, ctypes.POINTER(Params)
        )

        # int32_t llama_hw_reserve(struct llama_context * ctx);
        self.reserve = function("llama_hw_reserve", _i32, _void_p)

        # int32_t llama_hw_layout(const struct llama_context * ctx,
        #         int32_t * capacity, int32_t * level, int32_t * count);
        self.layout = function("llama_hw_layout", _i32, _void_p, _i32_p, _i32_p, _i32_p)

        # int32_t llama_hw_bytes_of(const struct llama_context * ctx,
        #         struct llama_hw_bytes * bytes);
        self.bytes_of = function("llama_hw_bytes_of", _i32, _void_p, ctypes.POINTER(Bytes))

        # int32_t llama_hw_free_rows(const struct llama_context * ctx);
        self.free_rows = function("llama_hw_free_rows", _i32, _void_p)

        # int32_t llama_hw_next_position(const struct llama_context * ctx, int32_t * position);
        self.next_position = function("llama_hw_next_position", _i32, _void_p, _i32_p)

        # int32_t llama_hw_set_score_window(struct llama_context * ctx, int32_t n_query);
        self.set_score_window = function("llama_hw_set_score_window", _i32, _void_p, _i32)

        # int32_t llama_hw_get_scores(struct llama_context * ctx, float * scores, int32_t n_row);
        self.get_scores = function("llama_hw_get_scores", _i32, _void_p, _f32_p, _i32)

        # int32_t llama_hw_get_positions(const struct llama_context * ctx,
        #         int32_t * positions, int32_t n_row);
        self.get_positions = function("llama_hw_get_positions", _i32, _void_p, _i32_p, _i32)

        # int32_t llama_hw_keep(struct llama_context * ctx,
        #         const int32_t * count, const int32_t * rows, int64_t n_rows);
        self.keep = function("llama_hw_keep", _i32, _void_p, _i32_p, _i32_p, ctypes.c_int64)

        # int32_t llama_hw_truncate(struct llama_context * ctx, int32_t position);
        self.truncate = function("llama_hw_truncate", _i32, _void_p, _i32)

        # int32_t llama_hw_shift(struct llama_context * ctx, int32_t delta, int32_t from_position);
        self.shift = function("llama_hw_shift", _i32, _void_p, _i32, _i32)

        # int32_t llama_hw_move(struct llama_context * ctx,
        #         const int32_t * positions, int64_t n_positions, int32_t next_position);
        self.move = function("llama_hw_move", _i32, _void_p, _i32_p, ctypes.c_int64, _i32)

        # int32_t llama_hw_append_rows(struct llama_context * dst, struct llama_context * src);
        self.append_rows = function("llama_hw_append_rows", _i32, _void_p, _void_p)

        # int32_t llama_hw_check_state(const struct llama_context * ctx,
        #         const uint8_t * data, size_t size);
        self.check_state = function(
            "llama_hw_check_state", _i32, _void_p, ctypes.POINTER(ctypes.c_uint8), ctypes.c_size_t
        )

        # int32_t llama_hw_read_keys(struct llama_context * ctx,
        #         int32_t layer, int32_t head, float * data);
        self.read_keys = function("llama_hw_read_keys", _i32, _void_p, _i32, _i32, _f32_p)

        # int32_t llama_hw_read_values(struct llama_context * ctx,
        #         int32_t layer, int32_t head, float * data);
        self.read_values = function("llama_hw_read_values", _i32, _void_p, _i32, _i32, _f32_p)

        # int32_t llama_hw_write_values(struct llama_context * ctx, int32_t layer, int32_t head,
        #         const int32_t * rows, int32_t n_rows, const float * data);
        self.write_values = function(
            "llama_hw_write_values", _i32, _void_p, _i32, _i32, _i32_p, _i32, _f32_p
        )

    # Looked up where a device is: a library for the CPU alone may be older than they are.

    @cached_property
    def device_bytes(self) -> Callable[..., Any]:
        # int32_t llama_hw_device_bytes(const struct llama_context * ctx, uint64_t * bytes);
        return self._function("llama_hw_device_bytes", _i32, _void_p, _u64_p)

    @cached_property
    def model_device_bytes(self) -> Callable[..., Any]:
        # int32_t llama_hw_model_device_bytes(const struct llama_model * model, uint64_t * bytes);
        return self._function("llama_hw_model_device_bytes", _i32, _void_p, _u64_p)

    def message(self) -> str:
        """What this thread's last failed call had to say."""
        text: bytes = self.last_error()
        return text.decode("utf-8", "replace")
