"""Open ONNX graphs so that their memory is bounded: one arena, no spinning, no surprises."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MissingExtraError, ModelError
from ..noise import caught

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
}


def open_session(
    path: Path,
    *,
    threads: int,
    provider: str,
    weights: Mapping[str, NDArray[np.generic]] | None = None,
) -> Any:
    """onnxruntime's session of `path`; `weights` fill the initialisers that lie outside the graph.

    Raises ModelError for a graph that it does not take, and MissingExtraError for a provider that
    this onnxruntime lacks.
    """
    import onnxruntime as ort

    name = PROVIDERS.get(provider)
    available = ort.get_available_providers()
    if name not in available:
        usable = [key for key, value in PROVIDERS.items() if value in available]
        raise MissingExtraError(
            f"This onnxruntime cannot run the encoder on {provider!r}.",
            cure=f"Use one of: {', '.join(usable)}; or install the onnxruntime for it.",
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    _register_arena()
    options.add_session_config_entry("session.use_env_allocators", "1")
    # Whatever its name ends with: nobody has looked at other formats.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    providers = [name] if provider == "cpu" else [name, PROVIDERS["cpu"]]
    try:
        if weights:
            values = [ort.OrtValue.ortvalue_from_numpy(value) for value in weights.values()]
            options.add_external_initializers(list(weights), values)
        # It tells of a provider that does not work with print(), and takes the next one.
        with caught("onnxruntime") as printed, contextlib.redirect_stdout(printed):
            return ort.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime's own errors share no usable base class
        raise ModelError(
            f"{path} is not a usable ONNX encoder: {first_line(error)}.",
            cure="Fetch it again or check the path.",
        ) from None


def first_line(error: Exception) -> str:
    """What an error says first, for a message of one line."""
    text = str(error).strip().splitlines() or [type(error).__name__]
    return text[0].strip().rstrip(".")[:160]


@cache
def _register_arena() -> None:
    """Give this process's onnxruntime an arena that grows by what is asked, and keeps it."""
    import onnxruntime as ort

    same_as_requested = 1
    info = ort.OrtMemoryInfo(
        "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
    )
    config = {
        "arena_extend_strategy": same_as_requested,
        "initial_chunk_size_bytes": 1 << 20,
        "max_dead_bytes_per_chunk": 1 << 20,
    }
    # A program around us may have registered its own: then that one serves.
    with contextlib.suppress(Exception):
        ort.create_and_register_allocator(info, ort.OrtArenaCfg(config))


def trim_heap() -> None:
    """Return to the kernel what unpacking f16 weights left behind; glibc only."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
