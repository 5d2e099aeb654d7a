"""Manifests come from anybody: every reader of theirs names the line, and takes no other error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_audiokv import manifest
from edge_audiokv.calibrate.clips import read_entries
from edge_audiokv.errors import InputError
from edge_audiokv.eval.repeats.score import read_joins
from edge_audiokv.eval.wer import read_manifest

CLIP = {"path": "a.wav", "text": "a"}
JOIN = {**CLIP, "id": "one", "parts": [CLIP, CLIP, CLIP], "times": 1}
READERS = (read_manifest, read_entries, read_joins)


@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"3",
        b'"path"',
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"path": ' + b"9" * 5000 + b"}",
        b'{"text": "a"}',
        b'{"path": 3, "text": "a"}',
        b'{"path": "a", "text": null}',
        b'{"path": "\xff"}',
    ],
    ids=lambda line: line[:20].decode("latin-1"),
)
def test_a_line_that_is_no_clip_is_told(
    tmp_path: Path, read: Callable[[Path], object], line: bytes
) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(json.dumps(JOIN).encode() + b"\n\n" + line + b"\n")
    with pytest.raises(InputError) as caught:
        read(path)
    assert "line 3" in str(caught.value) or "Cannot read" in str(caught.value)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 500


@pytest.mark.parametrize("times", [float("inf"), float("nan"), "x", None, [], 0, 9, 10**400])
def test_repeats_that_are_no_number_are_told(tmp_path: Path, times: object) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps({**JOIN, "times": times}))
    with pytest.raises(InputError, match=r"repeats"):
        read_joins(path)


@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
def test_a_manifest_without_end_is_not_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path], object]
) -> None:
    monkeypatch.setattr(manifest, "MAX_BYTES", 1 << 20)
    path = tmp_path / "m.jsonl"
    path.write_bytes(b"\n" * ((1 << 20) + 1))
    with pytest.raises(InputError, match="more than 1 MiB"):
        read(path)
    with pytest.raises(InputError, match="more than 1 MiB"):
        read(Path("/dev/zero"))
