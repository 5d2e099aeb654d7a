"""model.toml with a reader: all of its files, or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_audiokv.errors import ModelError
from edge_audiokv.models.entry import READER_ROLES, read_entry

DEFAULT = Path(__file__).resolve().parents[2] / "models" / "smollm2-audio" / "model.toml"


def entry_with(tmp_path: Path, *roles: str) -> Path:
    text = DEFAULT.read_text(encoding="utf-8")
    kept = [b for b in text.split("[[file]]") if not any(f'"{r}"' in b for r in READER_ROLES)]
    files = [f'\nrole = "{role}"\nname = "{role}.bin"\n' for role in roles]
    path = tmp_path / "model.toml"
    path.write_text("[[file]]".join([*kept, *files]), encoding="utf-8")
    return path


def test_the_default_model_has_a_reader() -> None:
    entry = read_entry(DEFAULT)
    files = [entry.file(role) for role in READER_ROLES]
    assert all(file is not None and file.sha256 and file.licence for file in files)
    assert entry.read_weight > entry.word_weight > 0 and 0 < entry.read_floor < entry.word_floor
    assert 0.5 < entry.read_share <= 1


def test_a_model_needs_no_reader(tmp_path: Path) -> None:
    entry = read_entry(entry_with(tmp_path))
    assert not any(entry.file(role) for role in READER_ROLES)
    assert read_entry(entry_with(tmp_path, *READER_ROLES)).file("reader-text") is not None


@pytest.mark.parametrize("missing", READER_ROLES)
def test_a_part_of_a_reader_is_refused(tmp_path: Path, missing: str) -> None:
    roles = [role for role in READER_ROLES if role != missing]
    with pytest.raises(ModelError, match=f"part of a reader, but no {missing}"):
        read_entry(entry_with(tmp_path, *roles))
