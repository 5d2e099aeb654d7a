"""Merged files that no model has use for go; nothing else ever does."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from edge_audiokv.models import catalog
from edge_audiokv.models.entry import ModelEntry
from edge_audiokv.models.merged import claim, forget, merged_path


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGE_AUDIOKV_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "merged"


def entry(directory: Path, name: str = "toy") -> ModelEntry:
    directory.mkdir(exist_ok=True)
    return replace(catalog.resolve(catalog.DEFAULT_MODEL), directory=directory, name=name)


def written(lora: str) -> Path:
    path = merged_path("base", lora, "q8_0")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lora.encode())
    return path


def test_new_weights_replace_the_old_merged_file_and_its_directory(tmp_path: Path) -> None:
    toy = entry(tmp_path / "toy")
    first, second = written("first"), written("second")
    claim(toy, first)
    claim(toy, first)
    assert first.is_file()
    claim(toy, second)
    assert not first.parent.exists() and second.is_file()


def test_a_file_that_another_model_uses_stays_until_that_is_gone_too(tmp_path: Path) -> None:
    toy, copy = entry(tmp_path / "toy"), entry(tmp_path / "copy")
    sibling = entry(tmp_path / "toy", "a/sibling")
    shared, second, third = written("shared"), written("second"), written("third")
    for model in (toy, copy, sibling):
        claim(model, shared)
    claim(toy, second)
    claim(sibling, second)
    assert shared.is_file() and second.is_file()
    shutil.rmtree(copy.directory)
    claim(toy, third)
    assert not shared.exists() and second.is_file() and third.is_file()


def test_a_model_and_its_copy_are_forgotten_together(tmp_path: Path, root: Path) -> None:
    """As one in the sources and the same installed: each has noted the file that both use."""
    installed, source = entry(tmp_path / "site"), entry(tmp_path / "clone")
    shared, other = written("shared"), written("other")
    for model in (installed, source):
        claim(model, shared)
    assert forget(installed) == len("shared")
    assert not shared.parent.exists()
    assert json.loads((root / "owners.json").read_text())["owners"] == {}
    # Noted by the copy alone.
    claim(source, shared := written("shared"))
    claim(entry(tmp_path / "third"), other)
    assert forget(installed) == 0 and forget(installed, shared) == len("shared")
    assert not shared.exists() and other.is_file()


def test_what_another_model_uses_is_not_forgotten(tmp_path: Path) -> None:
    toy, sibling = entry(tmp_path / "toy"), entry(tmp_path / "toy", "a/sibling")
    shared = written("shared")
    for model in (toy, sibling):
        claim(model, shared)
    assert forget(toy, shared) == 0 and shared.is_file()
    assert forget(sibling) == len("shared") and not shared.exists()


def test_a_file_in_use_is_left_and_deleted_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = entry(tmp_path / "toy")
    first, second = written("first"), written("second")
    claim(toy, first)

    def refuse(self: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "used by another process", str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        claim(toy, second)
    assert first.is_file() and second.is_file()
    claim(toy, second)
    assert not first.exists() and second.is_file()


def test_what_was_not_noted_or_lies_elsewhere_is_never_deleted(tmp_path: Path, root: Path) -> None:
    toy = entry(tmp_path / "toy")
    unknown, mine, first = written("unknown"), tmp_path / "mine.gguf", written("first")
    mine.touch()
    notes = first.with_name("notes.txt")
    notes.touch()
    claim(toy, first)
    index = json.loads((root / "owners.json").read_text())
    index["old"] = ["../../mine.gguf", str(mine), 3]
    (root / "owners.json").write_text(json.dumps(index))
    claim(toy, written("second"))
    assert unknown.is_file() and mine.is_file() and notes.is_file() and not first.exists()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"owners": 3, "old": []}', '{"owners": {}}'])
def test_a_damaged_index_is_begun_anew(tmp_path: Path, root: Path, text: str) -> None:
    first = written("first")
    (root / "owners.json").write_text(text)
    claim(entry(tmp_path / "toy"), first)
    assert list(json.loads((root / "owners.json").read_text())["owners"].values()) == [
        "/".join(first.parts[-2:])
    ]
