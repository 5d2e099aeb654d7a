"""The cache: where it lies, what it remembers, what it survives."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from edge_audiokv.models import cache


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGE_AUDIOKV_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_directory_follows_the_environment(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cache.cache_directory() == own_cache
    monkeypatch.delenv("EDGE_AUDIOKV_CACHE")
    assert cache.cache_directory().name == "edge-audiokv"


@pytest.mark.parametrize("name", ["EDGE_AUDIOKV_OFFLINE", "HF_HUB_OFFLINE"])
@pytest.mark.parametrize(("value", "offline"), [("1", True), ("true", True), ("0", False)])
def test_offline_is_read_from_either_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, offline: bool
) -> None:
    monkeypatch.delenv("EDGE_AUDIOKV_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv(name, value)
    assert cache.is_offline() is offline


def test_a_stamp_holds_until_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"abc")
    sha256 = cache.file_sha256(path)
    assert sha256 == hashlib.sha256(b"abc").hexdigest()
    assert not cache.is_stamped(path, sha256)
    cache.stamp(path, sha256)
    assert cache.is_stamped(path, sha256)
    assert not cache.is_stamped(path, "0" * 64)
    os.utime(path, ns=(0, 0))
    assert not cache.is_stamped(path, sha256)


def test_stamps_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MAX_STAMPS", 3)
    for index in range(5):
        path = tmp_path / f"{index}"
        path.touch()
        cache.stamp(path, "0" * 64)
    assert [cache.is_stamped(tmp_path / f"{index}", "0" * 64) for index in range(5)] == [
        False,
        False,
        True,
        True,
        True,
    ]


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff"])
def test_damaged_stamps_are_forgotten(own_cache: Path, tmp_path: Path, content: bytes) -> None:
    own_cache.mkdir()
    (own_cache / "verified.json").write_bytes(content)
    path = tmp_path / "weights"
    path.touch()
    assert not cache.is_stamped(path, "0" * 64)
    cache.stamp(path, "0" * 64)
    assert cache.is_stamped(path, "0" * 64)


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.write_atomic(tmp_path / "x", b"old")

    def broken(source: str, target: Path) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="disk full"):
        cache.write_atomic(tmp_path / "x", b"new")
    assert os.listdir(tmp_path) == ["x"]
    assert (tmp_path / "x").read_bytes() == b"old"
