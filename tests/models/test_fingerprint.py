"""The fingerprint of a file's content: what changes it, and what it costs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_audiokv.models import fingerprint as module
from edge_audiokv.models.fingerprint import BLOCK_BYTES, BLOCKS, WHOLE_BYTES, fingerprint


def write(path: Path, data: np.ndarray) -> Path:
    path.write_bytes(data.tobytes())
    return path


def weights(n_bytes: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, n_bytes, dtype=np.uint8)


def test_equal_contents_have_one_name_wherever_they_lie(tmp_path: Path) -> None:
    data = weights(10_000)
    assert fingerprint(write(tmp_path / "a", data)) == fingerprint(write(tmp_path / "b", data))


@pytest.mark.parametrize("at", [0, 4999, 9999])
def test_one_byte_of_a_small_file_counts(tmp_path: Path, at: int) -> None:
    data = weights(10_000)
    before = fingerprint(write(tmp_path / "a", data))
    data[at] ^= 1
    assert fingerprint(write(tmp_path / "a", data)) != before


def test_retrained_weights_behind_the_same_header_are_told_apart(tmp_path: Path) -> None:
    size_bytes = WHOLE_BYTES + 1_000_003
    header = weights(100_000)
    names = set()
    for seed in range(3):
        body = weights(size_bytes - header.size, seed + 1)
        names.add(fingerprint(write(tmp_path / "big", np.concatenate([header, body]))))
    assert len(names) == 3


def test_both_ends_and_any_twentieth_part_of_a_large_file_are_seen(tmp_path: Path) -> None:
    data = weights(WHOLE_BYTES + 1_000_003)
    before = fingerprint(write(tmp_path / "big", data))
    step = data.size // 20
    inner = [slice(i * step, (i + 1) * step) for i in (3, 17)]
    for change in (slice(0, 1), slice(-1, None), *inner):
        changed = data.copy()
        changed[change] ^= 1
        assert fingerprint(write(tmp_path / "big", changed)) != before


def test_a_large_file_is_not_read_in_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = 0
    path = write(tmp_path / "big", weights(WHOLE_BYTES + 5_000_000))
    real = module.hashlib.sha256

    class Digest:
        def __init__(self, data: bytes = b"") -> None:
            self.digest = real(data)

        def update(self, data: bytes) -> None:
            nonlocal read
            read += len(data)
            self.digest.update(data)

        def hexdigest(self) -> str:
            return self.digest.hexdigest()

    monkeypatch.setattr(module.hashlib, "sha256", Digest)
    fingerprint(path)
    assert read == BLOCKS * BLOCK_BYTES < path.stat().st_size / 4
