"""Commands that write, and places that take no file: told first, with a cure and one code."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from edge_audiokv.archive.store import Archive

from ..native import tiny

LONG = "n" * 250
TOO_LONG = "n" * 300


@pytest.fixture
def closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which this user may make no file."""
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    if not os.access(folder, os.W_OK):
        return folder
    # Root may write anywhere but there, and is told that it may.
    access = os.access
    monkeypatch.setattr(
        os,
        "access",
        lambda path, mode: (mode != os.W_OK or str(path) != "/proc") and access(path, mode),
    )
    return Path("/proc")


def files_in(folder: Path) -> list[Path]:
    """All but what SQLite keeps beside an archive that is read."""
    return sorted(path for path in folder.rglob("*") if path.suffix[-4:] not in ("-shm", "-wal"))


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A folder with what the commands want to read."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "words.jsonl").write_text('{"path": "a.wav", "text": "a"}\n')
    tiny.write(folder / "tiny.gguf", "llama")
    with Archive(folder / "talks.archive") as archive:
        archive.add(archive.begin("talk.flac"), 0.0, 1.0, "hello there")
    return folder


# What writes, with PLACE for the file: each refuses before it loads a model.
COMMANDS = {
    "transcribe": ["transcribe", "SOUND", "-o", "PLACE"],
    "transcribe-json": ["transcribe", "SOUND", "-o", "PLACE", "-f", "json"],
    "save-audio": ["listen", "SOUND", "--save-audio", "PLACE.wav"],
    "export": ["archive", "export", "WORK/talks.archive", "-o", "PLACE"],
    "calibrate": ["calibrate", "--data", "WORK/words.jsonl", "-o", "PLACE"],
    "calibrate-plot": [
        *("calibrate", "--data", "WORK/words.jsonl", "-o", "WORK/heads.json", "--plot", "PLACE")
    ],
    "codes-plot": [
        *("eval", "codes", "--manifest", "WORK/words.jsonl"),
        *("--codes", "WORK/words.jsonl", "--plot", "PLACE"),
    ],
    "bench": ["bench", "-o", "PLACE"],
    "bench-plot": ["bench", "--plot", "PLACE"],
    "soak-report": ["soak", "--manifest", "WORK/words.jsonl", "--report", "PLACE"],
    "soak-plot": ["soak", "--manifest", "WORK/words.jsonl", "--plot", "PLACE"],
    "archive": ["transcribe", "SOUND", "--archive", "PLACE"],
    "listen-archive": ["listen", "SOUND", "--archive", "PLACE"],
    "salvage": ["archive", "salvage", "WORK/talks.archive", "PLACE"],
}


@pytest.mark.parametrize("kind", ["too long", "folder", "closed", "missing"])
@pytest.mark.parametrize("name", COMMANDS)
def test_a_place_that_takes_no_file(call, spoken, work, closed, tmp_path, name, kind) -> None:
    wanted = COMMANDS[name]
    ending = ".wav" if name == "save-audio" else ""
    place = {
        "too long": tmp_path / TOO_LONG,
        "folder": tmp_path / "folder",
        "closed": closed / "file",
        "missing": tmp_path / "none" / "file",
    }[kind]
    (tmp_path / f"folder{ending}").mkdir()
    before = files_in(tmp_path)
    words = {"PLACE": str(place), "WORK": str(work), "SOUND": str(spoken["letter"].path)}
    for key, value in words.items():
        wanted = [word.replace(key, value) for word in wanted]
    ran = call(*wanted)
    assert ran.code == (12 if "archive" in name or name == "salvage" else 10), ran
    told = ran.complaint.removeprefix("edge-audiokv: ")
    assert str(place.parent if kind == "missing" else place)[:200] in told
    # What happened, and what to do about it.
    assert len([part for part in told.split(". ") if part]) >= 2, told
    assert files_in(tmp_path) == before


@pytest.mark.parametrize("kind", ["too long", "folder", "closed", "file"])
def test_a_folder_for_results_that_takes_none(call, spoken, work, closed, tmp_path, kind) -> None:
    (tmp_path / "folder").mkdir()
    for name in ("letter.txt", "tiny.Q8_0.gguf"):
        (tmp_path / "folder" / name).mkdir()
    (tmp_path / "file").write_text("mine")
    folder = {
        "too long": tmp_path / TOO_LONG,
        "folder": tmp_path / "folder",
        "closed": closed,
        "file": tmp_path / "file",
    }[kind]
    for command in (
        ["transcribe", spoken["letter"].path, "--output-dir", folder, "--overwrite"],
        ["quantize", work / "tiny.gguf", "--types", "Q8_0", "-o", folder, "--overwrite"],
    ):
        ran = call(*command)
        assert ran.code == 10, ran
        assert str(folder)[:200] in ran.complaint


@pytest.mark.integration
def test_a_model_of_a_long_name(call, work) -> None:
    source = work / f"{'n' * 240}.gguf"
    (work / "tiny.gguf").rename(source)
    assert call("quantize", source, "--types", "Q8_0", "-t", 1).code == 0
    assert (work / f"{'n' * 240}.Q8_0.gguf").exists()
    source.rename(work / f"{LONG}.gguf")
    before = sorted(work.iterdir())
    ran = call("quantize", work / f"{LONG}.gguf", "--types", "Q8_0", "-t", 1)
    assert ran.code == 10 and "File name too long. Give a shorter name." in ran.complaint
    assert sorted(work.iterdir()) == before


@pytest.mark.integration
@pytest.mark.usefixtures("local_model")
def test_results_of_long_names(call, spoken, work) -> None:
    target = work / f"{'n' * 250}.json"
    assert call("transcribe", spoken["letter"].path, "-o", target).code == 0
    assert json.loads(target.read_text())["complete"] is True
