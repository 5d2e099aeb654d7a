"""Labelled manifests: fields, groups, what is left out and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edge_audiokv.errors import InputError
from edge_audiokv.eval.probe.tasks import read_task


def manifest(folder: Path, lines: list[dict[str, Any]], name: str = "m.jsonl") -> Path:
    (folder / "a.wav").write_bytes(b"")
    text = "".join(json.dumps({"path": "a.wav", **line}) + "\n" for line in lines)
    (folder / name).write_text(text)
    return folder / name


def test_fields_may_lie_within_others_and_clips_without_one_are_counted(tmp_path: Path) -> None:
    lines = [{"slots": {"size": "sl"[i % 2]}, "speaker": str(i % 7)} for i in range(14)]
    path = manifest(tmp_path, [*lines, {"slots": {}}, {"slots": {"size": "rare"}}, {"slots": "x"}])
    task = read_task(f"{path}:slots.size:speaker")
    assert task.classes == ("l", "s") and task.chance == 0.5
    assert task.groups == tuple(str(i % 7) for i in range(14))
    assert task.n_left_out == 3 and set(task.clips) == {tmp_path / "a.wav"}
    assert task.name == f"{tmp_path.name}, slots.size"


def test_a_file_alone_is_read_by_label_and_may_hold_a_colon(tmp_path: Path) -> None:
    path = manifest(tmp_path, [{"label": str(i % 2)} for i in range(12)], "a:b.jsonl")
    assert len(set(read_task(str(path)).groups)) == 12
    assert read_task(f"{path}:label").labels == read_task(str(path)).labels


def test_a_limit_takes_as_many_of_every_label_from_all_over_the_file(tmp_path: Path) -> None:
    lines = [{"label": "a" if i < 30 else "b", "speaker": str(i)} for i in range(40)]
    path = manifest(tmp_path, lines)
    task = read_task(f"{path}:label:speaker", limit=6)
    assert task.labels == ("a",) * 6 + ("b",) * 6 and task.n_left_out == 0
    assert task.groups == ("0", "5", "10", "15", "20", "25", "30", "31", "33", "35", "36", "38")


@pytest.mark.parametrize(
    ("lines", "text", "why"),
    [
        ([{"label": "a"}] * 9, "", "fewer than two values of 'label'"),
        ([{"label": str(i)} for i in range(9)], "", "fewer than two values"),
        ([{"label": str(i % 2), "g": "1"} for i in range(20)], ":label:g", "values of 'g'"),
        ([{"label": str(i % 2), "path": "b.wav"} for i in range(20)], "", "20 clips"),
        ([{"path": 1}], "", "line 1 names no sound"),
    ],
)
def test_what_cannot_be_told_apart_is_refused(
    tmp_path: Path, lines: list[dict[str, Any]], text: str, why: str
) -> None:
    with pytest.raises(InputError, match=why):
        read_task(f"{manifest(tmp_path, lines)}{text}")


def test_a_missing_manifest_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no manifest"):
        read_task(f"{tmp_path}/none.jsonl:label")
