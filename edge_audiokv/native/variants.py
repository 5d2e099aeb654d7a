"""The CPU code of a library that was built for every kind of CPU (EDGE_AUDIOKV_CPU_VARIANTS=ON).

Each kind is a plug-in, `libeakv-ggml-cpu-KIND.so` beside the library, that tells how well it suits
the CPU that it runs on. ggml's own search is not used: it knows other names, looks beside the
program and in the folder where one stands, and loads whatever GGML_BACKEND_PATH names.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

from edge_audiokv.errors import NativeError

_PREFIX = "libeakv-ggml-cpu-"
_CPU = 0  # enum ggml_backend_dev_type


def load_best(folder: Path, llama: Any, cure: str) -> str | None:
    """Load the plug-in that suits this CPU best; its kind, or None where the CPU is built in.

    `llama` is the module of bindings. Raises NativeError, with `cure`, if no plug-in can be used.
    """
    lib = llama._lib
    lib.ggml_backend_dev_by_type.restype = ctypes.c_void_p
    if lib.ggml_backend_dev_by_type(_CPU):
        return None
    # Of a bare name the linker would search its own folders.
    paths = sorted(folder.resolve().glob(f"{_PREFIX}*.so"))
    scores = {path: _score(path, cure) for path in paths}
    best = max(scores, key=lambda path: scores[path], default=None)
    if best is None or scores[best] <= 0:
        raise NativeError(
            f"The native library in {folder} has no code for this CPU "
            f"among its {len(scores)} kinds.",
            cure=cure,
        )
    lib.ggml_backend_load.restype = ctypes.c_void_p
    lib.ggml_backend_load.argtypes = [ctypes.c_char_p]
    if not lib.ggml_backend_load(os.fsencode(best)):
        raise NativeError(f"{best} cannot be loaded: it is of another build.", cure=cure)
    return best.stem.removeprefix(_PREFIX)


def _score(path: Path, cure: str) -> int:
    """How well a plug-in suits this CPU, 0 if not at all. It is not kept in memory."""
    from _ctypes import dlclose  # Windows has none, and no plug-ins of this name

    try:
        plug_in = ctypes.CDLL(str(path))
        score = int(plug_in.ggml_backend_score())
    except (OSError, AttributeError) as error:
        raise NativeError(f"{path} cannot be loaded: {error}.", cure=cure) from error
    dlclose(plug_in._handle)
    return score
