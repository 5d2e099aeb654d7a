"""Finding and loading the library, and living beside another llama.cpp."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import edge_audiokv
from edge_audiokv import __version__
from edge_audiokv.errors import NativeError
from edge_audiokv.native import bindings, library
from edge_audiokv.native.model import Model
from edge_audiokv.native.stock import has_unpatched

from . import tiny

TELL = """
from edge_audiokv.errors import NativeError
from edge_audiokv.native import library

print(library.directory())
try:
    print(library.load().patch_level)
except NativeError as error:
    print(error)
"""


def run(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A fresh process: the library is loaded once a process."""
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, env=os.environ | env, capture_output=True, text=True, timeout=120, check=False
    )


def test_handshake() -> None:
    loaded = library.load()
    assert loaded is library.load()
    assert loaded.patch_level >= 1
    assert loaded.upstream.startswith("llama_cpp_python ")
    assert library.describe_library() == (
        f"{loaded.upstream}, head-wise patch {loaded.patch_level}"
    )


def test_weights_stay_where_the_plan_counts_them() -> None:
    """With AMX they would be copied into tiles; some g++ make code of it that ends the process."""
    features = library.load().llama.llama_print_system_info().decode()
    assert "AMX_INT8 = 1" not in features and "CPU" in features


def test_a_home_that_nobody_has_is_a_folder_like_any_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EDGE_AUDIOKV_LIB_DIR", "~nobody-of-that-name/lib")
    with pytest.raises(NativeError, match="is not in"):
        library.load.__wrapped__()


def test_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_AUDIOKV_LIB_DIR", str(tmp_path))
    with pytest.raises(NativeError, match="is not in") as caught:
        library.load.__wrapped__()
    assert "EDGE_AUDIOKV_LIB_DIR" in caught.value.cure


@pytest.mark.parametrize("installed", [__version__, "0.0.1", None])
def test_sources_beside_an_installed_package(tmp_path: Path, installed: str | None) -> None:
    """Whoever stands in a clone imports its folder first, which has no library in it."""
    package, clone, site = Path(edge_audiokv.__file__).parent, tmp_path / "clone", tmp_path / "site"
    shutil.copytree(
        package, clone / "edge_audiokv", ignore=shutil.ignore_patterns("lib", "__pycache__")
    )
    (clone / "pyproject.toml").touch()
    lib = site / "edge_audiokv" / "native" / "lib"
    lib.parent.mkdir(parents=True)
    if installed is not None:
        lib.symlink_to(library.directory())
    facts = site / f"edge_audiokv-{installed or __version__}.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(f"Name: edge-audiokv\nVersion: {installed or __version__}\n")
    environment = {**os.environ, "PYTHONPATH": str(site)}
    for name in ("EDGE_AUDIOKV_LIB_DIR", "PYTHONSAFEPATH"):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-c", TELL], cwd=clone, env=environment, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found, what = done.stdout.splitlines()
    if installed == __version__:
        assert (found, what) == (str(lib), f"{library.load().patch_level}")
    else:
        assert found == str(clone / "edge_audiokv" / "native" / "lib")
        assert "these are the sources" in what and f"`pip install .` in {clone}" in what


def test_broken_library(tmp_path: Path) -> None:
    shutil.copytree(library.directory() / "_llama_cpp", tmp_path / "_llama_cpp")
    code = (
        "from edge_audiokv.native.library import load\n"
        "from edge_audiokv.errors import NativeError\n"
        "try: load()\n"
        "except NativeError as error: print(error)\n"
    )
    name = next(library.directory().glob("libeakv-llama.*")).name
    for content in (None, b"not a library"):
        if content:
            (tmp_path / name).write_bytes(content)
        done = run(code, EDGE_AUDIOKV_LIB_DIR=str(tmp_path))
        assert done.returncode == 0, done.stderr
        assert "cannot be loaded" in done.stdout
        assert done.stdout.count("\n") == 1


def test_library_without_our_functions() -> None:
    """An older build lacks a symbol: one line, not an AttributeError."""
    code = (
        "from edge_audiokv.native import bindings, library\n"
        "from edge_audiokv.errors import NativeError\n"
        "def old(llama): raise AttributeError('undefined symbol: llama_hw_reserve')\n"
        "bindings.Headwise = old\n"
        "try: library.load()\n"
        "except NativeError as error: print(error)\n"
    )
    done = run(code)
    assert done.returncode == 0, done.stderr
    assert "older than this package" in done.stdout


def test_another_abi(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bindings, "ABI", 99)
    with pytest.raises(NativeError, match="speaks ABI 1, this package speaks 99"):
        library._check_abi(library.load().hw, Path("lib"))


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_two_llama_cpps_in_one_process(tmp_path: Path, first: str) -> None:
    """Ours and a second one, loaded in either order, both decode, and neither sees the other.

    The second is an unpatched build under llama-cpp-python's names where there is one, else a copy
    of ours under another path and name.
    """
    model = tiny.write(tmp_path / "tiny.gguf", "llama")
    theirs = library.directory() / "stock"
    if not (theirs / "_llama_cpp").is_dir():
        theirs = tmp_path / "theirs"
        shutil.copytree(library.directory(), theirs)
    name = (
        "llama"
        if list(theirs.glob("libllama.*"))
        else "eakv-llama-stock"
        if has_unpatched()
        else "eakv-llama"
    )
    code = f"""
import ctypes, os, sys
from pathlib import Path

import numpy as np

def ours():
    from edge_audiokv.native.context import HeadwiseContext
    from edge_audiokv.native.model import Model
    with Model({str(model)!r}) as m, HeadwiseContext(m, 64, n_threads=1) as c:
        return c.decode_tokens([1, 2, 3])

def theirs():
    os.environ["EDGE_AUDIOKV_LIB_NAME"] = {name!r}
    sys.path.insert(0, {str(theirs)!r})
    import _llama_cpp.llama_cpp as L
    del os.environ["EDGE_AUDIOKV_LIB_NAME"]
    quiet = L.llama_log_callback(lambda *_: None)
    L.llama_log_set(quiet, None)
    L._quiet = quiet
    from edge_audiokv.native.variants import load_best
    load_best(Path({str(theirs)!r}), L, "")
    L.llama_backend_init()
    m = L.llama_model_load_from_file({str(model)!r}.encode(), L.llama_model_default_params())
    p = L.llama_context_default_params()
    p.n_ctx, p.n_threads, p.n_threads_batch, p.flash_attn_type = 256, 1, 1, 1
    c = L.llama_init_from_model(m, p)
    ids = np.array([1, 2, 3], np.int32)
    b = L.llama_batch_get_one(ids.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)), 3)
    assert L.llama_decode(c, b) == 0
    return np.ctypeslib.as_array(L.llama_get_logits(c), (64,)).copy()

order = [ours, theirs] if {first!r} == "ours" else [theirs, ours]
a, b = [f() for f in order]
c = order[0]()
assert (a == c).all()
assert np.abs(a - b).max() < 1e-3, np.abs(a - b).max()
maps = open("/proc/self/maps").read() if os.path.exists("/proc/self/maps") else ""
loaded = {{line.split()[-1] for line in maps.splitlines() if "llama" in line.split()[-1]}}
print(len({{p for p in loaded if p.endswith(".so") or ".so." in p}}))
"""
    done = run(code)
    assert done.returncode == 0, done.stderr
    if sys.platform == "linux":
        assert int(done.stdout) >= 2


def test_an_answer_begins_after_its_marker(gguf: Path) -> None:
    with Model(gguf, answer_after="<|im_start|>") as model:
        ids = model.tokenize("language English<|im_start|>Good day<|im_start|>!")
        start = model.answer_start(ids)
        assert b"".join(map(model.piece, ids[start:])) == b"Good day<|im_start|>!"
        assert model.answer_start(ids, growing=True) == start
        without = model.tokenize("language English")
        assert model.answer_start(without) == 0
        assert model.answer_start(without, growing=True) == len(without)
        assert model.answer_start([]) == 0
    with Model(gguf) as model:
        assert model.answer_start(without) == model.answer_start(without, growing=True) == 0
