"""Finding a model by name, directory or file."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edge_audiokv.errors import ModelError
from edge_audiokv.models import catalog


def test_every_entry_of_the_catalog_is_usable_and_bears_its_directory_s_name() -> None:
    entries = catalog.list_models()
    assert catalog.DEFAULT_MODEL in [entry.name for entry in entries]
    assert all(entry.directory.name == entry.name for entry in entries)


def test_a_name_a_directory_and_a_toml_lead_to_the_same_model(tmp_path: Path) -> None:
    own = tmp_path / "mine"
    own.mkdir()
    shutil.copy(catalog.resolve().directory / "model.toml", own)
    by_dir, by_file = catalog.resolve(own), catalog.resolve(str(own / "model.toml"))
    assert by_dir == by_file
    assert by_dir.directory == own
    assert by_dir.files == catalog.resolve("smollm2-audio").files


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ModelError, match=r"Did you mean smollm2-audio\?"):
        catalog.resolve("smolm2-audio")


def test_a_gguf_alone_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "some.gguf"
    path.write_bytes(b"GGUF")
    with pytest.raises(ModelError, match="single file"):
        catalog.resolve(path)


def test_a_directory_without_an_entry_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no model\.toml"):
        catalog.resolve(tmp_path)
