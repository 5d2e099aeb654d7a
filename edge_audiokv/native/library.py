"""Find and load libllama and its ctypes bindings, and shake hands with our part of it.

One folder holds the libraries and the bindings (package `_llama_cpp`, from llama-cpp-python):
`EDGE_AUDIOKV_LIB_DIR` if set, else `lib` beside this file, where the wheel puts it. Nothing is
built among the sources: whoever stands in their folder imports them before the installed package,
whose library serves them if it is of the same version. The libraries have names of their own
(`libeakv-llama`, `libeakv-ggml`, ...) and are loaded privately, so a llama-cpp-python in the same
process is neither used nor disturbed.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import importlib.util
import logging
import os
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from edge_audiokv.errors import NativeError
from edge_audiokv.native import bindings, variants
from edge_audiokv.version import __version__

log = logging.getLogger("edge_audiokv.native")
log.addHandler(logging.NullHandler())

# ggml_log_level -> logging level; 5 continues the line before.
_LEVELS = {1: logging.DEBUG, 2: logging.DEBUG, 3: logging.INFO, 4: logging.WARNING}

_OWN = Path(__file__).resolve().parent / "lib"
_IN_PACKAGE = "edge_audiokv/native/lib"
_CURE = "Reinstall with `pip install .`, or set EDGE_AUDIOKV_LIB_DIR to a folder that has it."


@dataclass(frozen=True)
class Library:
    """The loaded library: `llama` are llama.cpp's functions, `hw` ours."""

    directory: Path
    llama: Any
    hw: bindings.Headwise
    patch_level: int
    upstream: str
    cpu: str | None
    """The kind of CPU whose code was chosen; None if the library was built for one alone."""
    complaints: deque[str]
    """The last few warnings and errors that llama.cpp logged, newest last."""


def directory() -> Path:
    """The folder of the libraries and bindings; it need not exist."""
    given = os.environ.get("EDGE_AUDIOKV_LIB_DIR")
    if given:
        return Path(os.path.expanduser(given))  # an unknown ~user stays as it is
    return _OWN if _bindings_in(_OWN).is_file() else _installed() or _OWN


def _installed() -> Path | None:
    """The folder in the installed package of this version; None if there is none."""
    try:
        distribution = importlib.metadata.distribution("edge-audiokv")
    except importlib.metadata.PackageNotFoundError:
        return None
    if distribution.version != __version__:
        return None
    folder = Path(str(distribution.locate_file(_IN_PACKAGE)))
    return folder if _bindings_in(folder).is_file() else None


def _bindings_in(folder: Path) -> Path:
    return folder / "_llama_cpp" / "__init__.py"


def _missing(where: Path) -> NativeError:
    sources = _OWN.parents[2]
    if where == _OWN and (sources / "pyproject.toml").is_file():
        return NativeError(
            f"The native library is not in {where}: these are the sources, "
            f"and edge-audiokv {__version__} is not installed in this Python.",
            cure=f"Run `pip install .` in {sources}, or set EDGE_AUDIOKV_LIB_DIR to a folder "
            "that has the library.",
        )
    return NativeError(f"The native library is not in {where}.", cure=_CURE)


@functools.cache
def load() -> Library:
    """Load the library, once a process. Raises NativeError if missing, broken or of another ABI."""
    where = directory()
    llama = _import_bindings(where)
    try:
        hw = bindings.Headwise(llama)
    except AttributeError as error:
        raise NativeError(
            f"The native library in {where} is older than this package: {error}.", cure=_CURE
        ) from error

    patch_level, upstream = _check_abi(hw, where)
    complaints: deque[str] = deque(maxlen=16)
    _route_log(llama, complaints)
    cpu = variants.load_best(where, llama, _CURE)
    # With nothing registered it would look for ggml's plug-ins elsewhere.
    llama.llama_backend_init()
    log.debug("native library %s, patch level %d, %s", where, patch_level, upstream)
    return Library(where, llama, hw, patch_level, upstream, cpu, complaints)


def describe_library() -> str:
    """One line for --version: patch level and upstream, or why there is no library."""
    try:
        library = load()
    except NativeError as error:
        return error.what
    return f"{library.upstream}, head-wise patch {library.patch_level}"


def _check_abi(hw: bindings.Headwise, where: Path) -> tuple[int, str]:
    """Patch level and upstream release of a library that speaks our ABI."""
    patch, upstream = ctypes.c_int32(), ctypes.c_char_p()
    abi = hw.version(ctypes.byref(patch), ctypes.byref(upstream))
    if abi != bindings.ABI:
        raise NativeError(
            f"The native library in {where} speaks ABI {abi}, this package speaks {bindings.ABI}.",
            cure=_CURE,
        )
    return patch.value, (upstream.value or b"").decode()


def _import_bindings(where: Path) -> ModuleType:
    package = "edge_audiokv.native._llama_cpp"
    init = _bindings_in(where)
    if not init.is_file():
        raise _missing(where)
    spec = importlib.util.spec_from_file_location(
        package, init, submodule_search_locations=[str(init.parent)]
    )
    if spec is None or spec.loader is None:
        raise NativeError(f"The bindings in {init.parent} cannot be imported.", cure=_CURE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[package] = module
    spec.loader.exec_module(module)
    try:
        return importlib.import_module(f"{package}.llama_cpp")
    except (OSError, RuntimeError, AttributeError, ImportError) as error:
        sys.modules.pop(package, None)
        raise NativeError(
            f"The native library in {where} cannot be loaded: {error}.", cure=_CURE
        ) from error


def _route_log(llama: Any, complaints: deque[str]) -> None:
    """Send llama.cpp's log to `logging`; nothing reaches stderr by itself."""
    level_before = [0]

    @llama.llama_log_callback  # type: ignore[untyped-decorator]
    def receive(level: int, text: bytes, _data: object) -> None:
        level = level_before[0] if level == 5 else level
        level_before[0] = level
        line = text.decode("utf-8", "replace").rstrip()
        if level >= 3 and line:
            complaints.append(line)
        if line:
            log.log(_LEVELS.get(level, logging.DEBUG), "%s", line)

    llama.llama_log_set(receive, None)
    llama._edge_audiokv_log_callback = receive  # C keeps the pointer: it must live as long
