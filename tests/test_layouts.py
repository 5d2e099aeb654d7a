"""Corpora on disk: what a folder's layout says of its clips, read by every reader of manifests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_audiokv import layouts
from edge_audiokv.calibrate.clips import read_entries
from edge_audiokv.errors import InputError
from edge_audiokv.eval.wer import read_manifest


def librispeech(root: Path) -> Path:
    for speaker, chapter, texts in (("19", "198", ["A TALE", "THE END"]), ("26", "7", ["HELLO"])):
        folder = root / "dev" / speaker / chapter
        folder.mkdir(parents=True)
        lines = []
        for index, text in enumerate(texts):
            name = f"{speaker}-{chapter}-{index:04}"
            (folder / f"{name}.flac").write_bytes(b"")
            lines.append(f"{name} {text}\n")
        (folder / f"{speaker}-{chapter}.trans.txt").write_text("".join(lines))
    return root / "dev"


def test_librispeech_says_who_speaks_and_in_which_chapter(tmp_path: Path) -> None:
    folder = librispeech(tmp_path)
    clips = read_manifest(folder)
    assert [(clip.id, clip.text, clip.speaker, clip.recording) for clip in clips] == [
        ("19-198-0000", "A TALE", "19", "19-198"),
        ("19-198-0001", "THE END", "19", "19-198"),
        ("26-7-0000", "HELLO", "26", "26-7"),
    ]
    assert all(clip.path.is_file() for clip in clips)
    assert [clip.id for clip in read_manifest(folder, speakers=["26"])] == ["26-7-0000"]
    one_each = [clip.id for clip in read_manifest(folder, per_speaker=1)]
    assert one_each == ["19-198-0000", "26-7-0000"]
    assert [clip.id for clip in read_manifest(folder, per_speaker=1, limit=1)] == one_each[:1]
    assert [entry["text"] for entry in read_entries(folder)] == ["A TALE", "THE END", "HELLO"]


def test_the_folder_may_be_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(librispeech(tmp_path))
    for name in (".", "../dev", "19/.."):
        assert all(clip.path.is_file() for clip in read_manifest(Path(name)))


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_audio_folders_have_a_table_in_each_split(tmp_path: Path, kind: str) -> None:
    for split, column in (("train", "transcription"), ("test", "sentence")):
        (tmp_path / split / "a").mkdir(parents=True)
        (tmp_path / split / "a" / "1.wav").write_bytes(b"")
        row = {"file_name": "a/1.wav", column: f'So, "{split}"', "speaker_id": "7"}
        text = json.dumps(row) + "\n"
        if kind == "csv":
            text = f'\ufefffile_name,{column},speaker_id\na/1.wav,"So, ""{split}""",7\n'
        (tmp_path / split / f"metadata.{kind}").write_text(text, encoding="utf-8")
    clips = read_manifest(tmp_path)
    assert [(c.id, c.text, c.speaker) for c in clips] == [
        ("1", 'So, "test"', "7"),
        ("1", 'So, "train"', "7"),
    ]
    assert all(clip.path.is_file() for clip in clips)


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("notes.txt", "hello", "no corpus that is known"),
        ("metadata.jsonl", '{"file_name": "a.wav"}', "line 1 is not a clip"),
        ("metadata.jsonl", "[1]", "line 1 is not a clip"),
        ("metadata.csv", "file_name,label\na.wav,3\n", "line 2 is not a clip"),
        ("a.trans.txt", "", "no clips"),
    ],
)
def test_other_folders_are_told(tmp_path: Path, name: str, text: str, why: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=why):
        read_manifest(tmp_path)


def test_a_table_without_end_is_not_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layouts, "MOST_BYTES", 1 << 20)
    (tmp_path / "metadata.csv").write_bytes(b"\n" * ((1 << 20) + 1))
    with pytest.raises(InputError, match="more than 1 MiB"):
        read_manifest(tmp_path)


def test_other_names_of_the_fields_are_read(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    lines = [
        {"audio_filepath": "a.wav", "duration": 2.0, "text": "one"},
        {"index": 3, "audio_path": "b.wav", "question": "Write it down.", "answer": "two"},
        {"path": "c.wav", "audio_path": "x", "text": "three", "answer": "y"},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = [(clip.path.name, clip.text) for clip in read_manifest(path)]
    assert found == [("a.wav", "one"), ("b.wav", "two"), ("c.wav", "three")]
    assert [(e["path"], e["text"]) for e in read_entries(path)] == found
