"""Corpora as they lie on disk, read as if they were manifests: LibriSpeech, Hugging Face folders.

LibriSpeech   SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt with lines "ID TEXT", ID.flac beside it
AudioFolder   metadata.jsonl or metadata.csv with "file_name" and a column of text
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge_audiokv.errors import InputError
from edge_audiokv.files import read_bounded

MOST_CLIPS = 500_000
MOST_BYTES = 128 << 20
TEXT_COLUMNS = ("text", "transcription", "sentence", "transcript", "normalized_text")
SPEAKER_COLUMNS = ("speaker", "speaker_id", "client_id")
_SOUNDS = (".flac", ".wav", ".opus", ".ogg", ".mp3")


def clips_in(folder: Path) -> Iterator[dict[str, Any]]:
    """What a manifest beside `folder` would say of its clips, sorted by file.

    Raises InputError if it has neither layout, or a file that cannot be read.
    """
    found = False
    for path in sorted(folder.rglob("*.trans.txt")):
        found = True
        yield from _librispeech(folder, path)
    for name in ("metadata.jsonl", "metadata.csv"):
        for path in sorted(folder.rglob(name)):
            found = True
            yield from _audio_folder(folder, path)
    if not found:
        raise InputError(
            f"{folder} is no corpus that is known here.",
            cure="It needs *.trans.txt as LibriSpeech has, or metadata.jsonl or metadata.csv;"
            " or give a manifest.",
        )


def _librispeech(folder: Path, path: Path) -> Iterator[dict[str, Any]]:
    for line in _text_of(path).splitlines():
        name, _, text = line.strip().partition(" ")
        if not name:
            continue
        speaker, _, rest = name.partition("-")
        sounds = (path.with_name(name + ending) for ending in _SOUNDS)
        sound = next((sound for sound in sounds if sound.is_file()), path.with_name(f"{name}.flac"))
        yield {
            "id": name,
            "path": _from_beside(folder, sound),
            "text": text.strip(),
            "speaker": speaker,
            "recording": f"{speaker}-{rest.partition('-')[0]}",
        }


def _audio_folder(folder: Path, path: Path) -> Iterator[dict[str, Any]]:
    rows = _json_rows(path) if path.suffix == ".jsonl" else _csv_rows(path)
    for number, row in rows:
        name, text = row.get("file_name"), _first(row, TEXT_COLUMNS)
        if not isinstance(name, str) or not name or not isinstance(text, str):
            raise InputError(
                f"{path} line {number} is not a clip.",
                cure=f'It needs "file_name" and one of {", ".join(TEXT_COLUMNS)}.',
            )
        place = {"path": _from_beside(folder, path.parent / name), "text": text}
        speaker = _first(row, SPEAKER_COLUMNS)
        yield {"id": Path(name).stem, **row, **place} | (
            {} if speaker is None else {"speaker": str(speaker)}
        )


def _json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(_text_of(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        yield number, row if isinstance(row, dict) else {}


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        # Line 1 names the columns.
        yield from enumerate(csv.DictReader(io.StringIO(_text_of(path), newline="")), 2)
    except csv.Error as error:
        raise InputError(f"{path} is no CSV ({error}).", cure="Check it.") from None


def _first(row: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)


def _from_beside(folder: Path, path: Path) -> str:
    """`path` as seen from where `folder` lies, as a manifest's paths are from the manifest."""
    return str(Path(folder.name) / path.relative_to(folder))


def _text_of(path: Path) -> str:
    try:
        return read_bounded(path, MOST_BYTES).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(f"Cannot read {path}: {why}.", cure="Check it.") from None
