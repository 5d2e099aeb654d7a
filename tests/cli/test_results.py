"""A file for each input, folders, formats by name: what goes where, and what is never lost."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge_audiokv.cli.results import (
    Input,
    check_unwritten,
    find_inputs,
    format_of,
    plan_targets,
    source_name,
)
from edge_audiokv.errors import InputError, OutputError


@pytest.mark.parametrize(
    ("output", "wanted", "format_name", "told"),
    [
        ("-", None, "text", False),
        ("x.srt", None, "srt", False),
        ("X.VTT", None, "vtt", False),
        ("x.ndjson", None, "jsonl", False),
        ("x.weird", None, "text", True),
        ("talk.DOCX", None, "text", True),
        ("talk.html", None, "text", True),
        ("talk.docx", "text", "text", False),
        ("talk.md", None, "text", False),
        ("talk.2026", None, "text", False),
        ("talk", None, "text", False),
        ("x", "json", "json", False),
        ("x.srt", "srt", "srt", False),
        ("x.srt", "json", "json", True),
        ("-", "vtt", "vtt", False),
    ],
)
def test_the_format_follows_the_name_unless_it_is_asked_for(
    capsys, output, wanted, format_name, told
) -> None:
    assert format_of(output, wanted) == format_name
    err = capsys.readouterr().err
    assert (f"not as {Path(output).suffix[1:].lower()}" in err) == told


def test_sources_have_names() -> None:
    names = [source_name(source) for source in (None, "-", "a.wav", "a\x1b[1m.wav")]
    assert names[:3] == ["microphone", "standard input", "a.wav"] and "\x1b" not in names[3]


@pytest.mark.parametrize("name", ["talk.wav", "talk.MP3", "talk.m4a"])
@pytest.mark.parametrize("command", ["transcribe", "listen"])
def test_no_result_takes_the_name_of_a_recording(call, tmp_path: Path, command, name) -> None:
    (tmp_path / name).write_bytes(b"precious")
    for wanted in ([], ["-f", "srt"]):
        ran = call(command, tmp_path / "other.wav", "-o", tmp_path / name, *wanted)
        assert ran.code == 10 and "Name it talk.txt" in ran.complaint
    assert (tmp_path / name).read_bytes() == b"precious"


@pytest.mark.parametrize(
    "words",
    [
        ["calibrate", "--data", __file__, "-o"],
        ["calibrate", "--data", __file__, "-o", "heads.json", "--plot"],
        ["soak", "--manifest", __file__, "--report"],
        ["eval", "codes", "--codes", __file__, "--manifest", __file__, "--plot"],
    ],
    ids=lambda words: " ".join(words[:1] + words[-1:]),
)
def test_no_figures_or_pictures_do(call, tmp_path: Path, monkeypatch, words) -> None:
    monkeypatch.chdir(tmp_path)
    ran = call(*words, "talk.flac")
    assert ran.code == 10 and "talk.flac has the name of a sound" in ran.complaint
    assert not list(tmp_path.iterdir())


def test_folders_give_the_sounds_below_them(tmp_path: Path) -> None:
    for name in ("b.wav", "a.FLAC", "deep/er/c.mp3", "notes.txt", "deep/.hidden"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "deep" / "round").symlink_to(tmp_path)
    found = find_inputs([str(tmp_path), "other.xyz", "-"])
    assert [str(item.below) for item in found] == [
        "a.FLAC",
        "b.wav",
        "deep/er/c.mp3",
        "other.xyz",
        "stdin",
    ]


def test_a_folder_without_sounds_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no sound file"):
        find_inputs([str(tmp_path)])


def targets(folder: Path, *names: str, overwrite: bool = False) -> list[str]:
    inputs = [Input(name, Path(name)) for name in names]
    planned = plan_targets(inputs, folder, "srt", overwrite=overwrite)
    return [str(path.relative_to(folder)) for path in planned]


def test_names_of_results(tmp_path: Path) -> None:
    assert targets(tmp_path, "a.wav", "x/a.wav", "b.c.ogg") == ["a.srt", "x/a.srt", "b.c.srt"]
    assert targets(tmp_path, "a.wav", "a.mp3") == ["a.wav.srt", "a.mp3.srt"]
    with pytest.raises(OutputError, match="Two of the inputs"):
        targets(tmp_path, "a.wav", "a.wav")


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "a.srt").write_text("precious")
    with pytest.raises(OutputError, match="is there already"):
        targets(tmp_path, "b.wav", "a.wav")
    assert targets(tmp_path, "a.wav", overwrite=True) == ["a.srt"]


@pytest.mark.parametrize("command", ["transcribe", "listen"])
def test_a_result_that_is_there_is_not_written_over(command: str, call, tmp_path: Path) -> None:
    result, sound = tmp_path / "a.txt", Path("tests/data/letter.flac").resolve()
    result.write_text("precious")
    ran = call(command, sound, "-o", result)
    assert ran.code == 10 and "is there already" in ran.complaint and "--overwrite" in ran.complaint
    assert result.read_text() == "precious"


def test_what_holds_nothing_or_is_no_file_may_be_written(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for output in ("-", str(tmp_path / "empty"), str(tmp_path / "new"), os.devnull):
        check_unwritten(output, overwrite=False)
    (tmp_path / "a").write_text("precious")
    check_unwritten(str(tmp_path / "a"), overwrite=True)


@pytest.mark.integration
def test_a_folder_with_a_bad_file_among_good_ones(call, spoken, tmp_path: Path) -> None:
    sounds = tmp_path / "sounds"
    sounds.mkdir()
    shutil.copy(spoken["letter"].path, sounds / "a.flac")
    (sounds / "b.wav").write_bytes(b"no sound at all")
    shutil.copy(spoken["garden"].path, sounds / "c.flac")
    ran = call("transcribe", sounds, "--output-dir", tmp_path / "texts", "-f", "jsonl")
    assert ran.code == 3 and ran.out == ""
    assert "b.wav is not audio" in ran.err and "Not every file" in ran.err
    written = sorted(path.name for path in (tmp_path / "texts").iterdir())
    assert written == ["a.jsonl", "c.jsonl"]
    for name, clip in (("a", "letter"), ("c", "garden")):
        (line,) = (tmp_path / "texts" / f"{name}.jsonl").read_text().splitlines()
        record = json.loads(line)
        assert record["id"] == 0 and record["file"].endswith(f"{name}.flac")
        assert record["text"].lower().split()[:2] == spoken[clip].text.lower().split()[:2]
        assert record["end_s"] <= spoken[clip].duration_s + 0.1
    # Nothing is heard again before what is there has been told.
    again = call("transcribe", sounds, "--output-dir", tmp_path / "texts", "-f", "jsonl")
    assert again.code == 10 and "is there already" in again.complaint


@pytest.mark.integration
@pytest.mark.parametrize("sound", ["silence", "noise"])
def test_nothing_is_answered_where_nothing_was_heard(call, tmp_path: Path, sound: str) -> None:
    noise = np.random.default_rng(0).normal(0, 0.003, 48_000)
    samples = np.zeros(48_000) if sound == "silence" else noise
    soundfile.write(tmp_path / "x.wav", samples, 16_000)
    ran = call("ask", tmp_path / "x.wav", "What was said?", "--json")
    (answer,) = json.loads(ran.out)["answers"]
    assert (ran.code, answer["heard"]) == (0, False)
    assert answer["text"] == "No words were heard."


def test_help_is_help_when_nothing_is_asked_for(call) -> None:
    for args in ((), ("models",), ("eval",)):
        ran = call(*args)
        lines = ran.err.splitlines()
        assert ran.code == 2 and lines[0].startswith("Usage: edge-audiokv")
        assert len(lines) > 10 and "Commands:" in lines


def test_more_threads_than_cores_are_told_and_not_used(call, monkeypatch) -> None:
    from edge_audiokv.engine.settings import EngineSettings

    monkeypatch.setattr("edge_audiokv.engine.settings.usable_cores", lambda: 2)
    assert EngineSettings(threads=64).n_threads == 2
    assert EngineSettings(threads=1).n_threads == 1
    monkeypatch.setattr("edge_audiokv.cli.options.usable_cores", lambda: 2)
    ran = call("transcribe", "missing.wav", "-t", "64")
    assert "--threads 64 is more than the 2 cores here" in ran.err
