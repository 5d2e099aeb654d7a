"""Preparing llama.cpp for the build: strict patches, a pinned sdist, nothing rewritten twice."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]

PATCH = """Why:  reasons
What: a change
--- a/src/a.cpp
+++ b/src/a.cpp
@@ -1,3 +1,4 @@
 one
-two
+TWO
+2.5
 three
@@ -5,2 +6,1 @@
 five
-six
"""
BEFORE = b"one\ntwo\nthree\nfour\nfive\nsix\nseven\n"
AFTER = b"one\nTWO\n2.5\nthree\nfour\nfive\nseven\n"


@pytest.fixture(scope="module")
def upstream() -> ModuleType:
    spec = importlib.util.spec_from_file_location("upstream", ROOT / "cmake" / "upstream.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_patch(upstream: ModuleType) -> None:
    tree = {"src/a.cpp": BEFORE, "src/b.cpp": b"other\n"}
    upstream.apply_patch(PATCH, tree, "p")
    assert tree == {"src/a.cpp": AFTER, "src/b.cpp": b"other\n"}


@pytest.mark.parametrize(
    ("before", "complaint"),
    [
        (BEFORE.replace(b"two", b"Two"), r"src/a\.cpp:2 is not what the patch expects"),
        (b"zero\n" + BEFORE, r"src/a\.cpp:1 is not"),  # shifted by a line: no fuzz
        (b"one\ntwo\n", r"src/a\.cpp:3 is not"),
    ],
)
def test_patch_that_does_not_fit(upstream: ModuleType, before: bytes, complaint: str) -> None:
    with pytest.raises(SystemExit, match=complaint):
        upstream.apply_patch(PATCH, {"src/a.cpp": before}, "p")


def test_patch_of_a_missing_file(upstream: ModuleType) -> None:
    with pytest.raises(SystemExit, match=r"cannot patch src/a\.cpp"):
        upstream.apply_patch(PATCH, {}, "p")


def fake_sdist(folder: Path, upstream: ModuleType) -> tuple[Path, dict[str, str]]:
    """An sdist with the few files that preparation looks at."""
    path = folder / "thing-1.0.tar.gz"
    files = {
        "vendor/llama.cpp/src/a.cpp": BEFORE,
        "vendor/llama.cpp/LICENSE": b"MIT\n",
        "vendor/llama.cpp/tests/big.bin": b"not wanted\n",
        "LICENSE.md": b"MIT\n",
        "llama_cpp/_ctypes_extensions.py": b"x = 1\n",
        "llama_cpp/llama_cpp.py": (
            b"import os, pathlib\nfrom llama_cpp._ctypes_extensions import x\n"
            b'_lib_base_name = "llama"\n_base_path = 1\n# Load the library\n_lib = x\n'
        ),
    }
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(f"thing-1.0/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return path, {"name": "thing", "version": "1.0", "file": path.name, "sha256": digest}


def test_prepare(upstream: ModuleType, tmp_path: Path) -> None:
    sdist, pin = fake_sdist(tmp_path, upstream)
    patches, out = tmp_path / "patches", tmp_path / "out"
    patches.mkdir()
    (patches / "series").write_text("0001.patch\n")
    (patches / "0001.patch").write_text(PATCH)
    assert upstream.find_sdist(pin, str(sdist)) == sdist
    for _ in range(2):
        upstream.prepare(sdist, patches, out, pin, True)
    assert (out / "llama.cpp/src/a.cpp").read_bytes() == AFTER
    assert (out / "stock/src/a.cpp").read_bytes() == BEFORE
    assert not (out / "llama.cpp/tests").exists()
    text = (out / "_llama_cpp/llama_cpp.py").read_text()
    assert "eakv-llama" in text
    assert "from ._ctypes_extensions" in text
    compile(text, "llama_cpp.py", "exec")


def test_nothing_is_rewritten(upstream: ModuleType, tmp_path: Path) -> None:
    """An unchanged file keeps its time, so that nothing is compiled again."""
    path = tmp_path / "a"
    upstream.write_if_new(path, b"1")
    stamp = path.stat().st_mtime_ns
    upstream.write_if_new(path, b"1")
    assert path.stat().st_mtime_ns == stamp
    upstream.write_if_new(path, b"2")
    assert path.read_bytes() == b"2"


def test_wrong_sdist(upstream: ModuleType, tmp_path: Path) -> None:
    sdist, pin = fake_sdist(tmp_path, upstream)
    with pytest.raises(SystemExit, match=r"UPSTREAM pins 00"):
        upstream.find_sdist(pin | {"sha256": "00" * 32}, str(sdist))
    with pytest.raises(SystemExit, match="is not a file"):
        upstream.find_sdist(pin, str(tmp_path / "none"))


def test_sdist_from_the_cache(
    upstream: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_AUDIOKV_CACHE", str(tmp_path))
    (tmp_path / "sdist").mkdir()
    sdist, pin = fake_sdist(tmp_path / "sdist", upstream)
    assert upstream.find_sdist(pin, "") == sdist


def test_download_that_fails(
    upstream: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No pip here: the message says what to do, and nothing half-fetched stays."""
    _, pin = fake_sdist(tmp_path, upstream)
    monkeypatch.setenv("EDGE_AUDIOKV_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(SystemExit, match="set EDGE_AUDIOKV_LLAMA_SDIST"):
        upstream.find_sdist(pin, "")
    assert list((tmp_path / "cache/sdist").iterdir()) == []


def test_the_pin_and_the_series() -> None:
    """Every patch says why, what and how it is tested, and is in the series."""
    patches = ROOT / "patches"
    series = (patches / "series").read_text().split()
    assert sorted(path.name for path in patches.glob("*.patch")) == series
    for name in series:
        lines = (patches / name).read_text().splitlines()
        for word in ("Why:", "What:", "Test:"):
            assert any(line.startswith(word) for line in lines[:8]), (name, word)
