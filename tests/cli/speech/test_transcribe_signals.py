"""Broken off halfway: whoever stops us gets what there is, whole, and the right exit code."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge_audiokv.archive.store import Archive

from ..screen import Terminal

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("local_model"), pytest.mark.alone]


@pytest.fixture(scope="module")
def hour(spoken, tmp_path_factory) -> Path:
    """So much speech that no machine is done with it before the signal comes."""
    gap = np.zeros(24000, np.float32)
    clips = [piece for clip in spoken.values() for piece in (clip.samples, gap)]
    path = Path(tmp_path_factory.mktemp("sound")) / "hour.flac"
    soundfile.write(str(path), np.concatenate(clips * 150), 16000)
    return path


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGHUP, 129), (signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_a_signal_ends_the_document_and_sets_the_code(command, hour, number, code) -> None:
    with command.start("transcribe", hour, "--format", "json") as process:
        assert process.stdout is not None and process.stderr is not None
        begun = process.stdout.readline() + process.stdout.readline()
        process.send_signal(number)
        rest, err = process.stdout.read(), process.stderr.read()
    document = json.loads(begun + rest)
    assert document["complete"] is False
    assert document["segments"]
    until = time.strftime("%H:%M:%S", time.gmtime(document["segments"][-1]["end_s"]))
    told = f"broken off: the result holds what was said until {until}."
    assert (process.returncode, err) == (code, f"{told}\n")


def test_who_breaks_off_is_told_what_a_file_holds(command, hour, tmp_path) -> None:
    target = tmp_path / "hour.srt"
    with command.start("transcribe", hour, "-o", target) as process:
        assert process.stderr is not None
        while not target.exists() or target.stat().st_size < 100:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        err = process.stderr.read()
    assert process.returncode == 130 and f"broken off: {target} holds what was said until" in err
    assert target.read_text().endswith("\n")


def test_who_breaks_off_is_told_which_file_of_a_folder_is_not_finished(
    command, hour, spoken, tmp_path
) -> None:
    short, folder = spoken["letter"].path, tmp_path / "texts"
    with command.start("transcribe", short, hour, "--output-dir", folder, "-f", "text") as process:
        assert process.stderr is not None
        told = process.stderr.readline()
        deadline = time.monotonic() + 120
        while not any(path.stat().st_size > 100 for path in folder.iterdir()):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        err = process.stderr.read()
    assert process.returncode == 130
    assert told.strip().endswith(str(folder / f"{short.stem}.txt"))
    assert f"broken off: {folder / 'hour.txt'} holds what was said until" in err
    assert sorted(path.name for path in folder.iterdir()) == ["hour.txt", f"{short.stem}.txt"]


@pytest.mark.parametrize(("name", "older"), [("t.srt", None), ("t.json", "older")])
def test_who_breaks_off_before_the_first_words_is_told_so(
    command, tmp_path, name: str, older: str | None
) -> None:
    silence, target = tmp_path / "silence.flac", tmp_path / name
    soundfile.write(silence, np.zeros(3600 * 16_000, np.int16), 16_000)
    options = []
    if older is not None:
        target.write_text(older)
        options = ["--overwrite"]
    with command.start("-v", "transcribe", silence, "-o", target, *options) as process:
        assert process.stderr is not None
        while "memory plan" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        err = process.stderr.read()
    assert process.returncode == 130
    assert f"broken off before the first words: nothing was written to {target}." in err
    assert "holds" not in err
    assert (target.read_text() if target.exists() else None) == older


def test_a_signal_while_loading_is_told_in_a_line(command, hour, tmp_path) -> None:
    target = tmp_path / "hour.srt"
    with command.start("-v", "-v", "transcribe", hour, "-o", target) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stderr.readline()  # the first debug line: the model is being loaded
        process.send_signal(signal.SIGINT)
        out, err = process.stdout.read(), process.stderr.read()
    assert (process.returncode, out) == (130, "")
    told = "broken off while the model was loading: nothing was written."
    assert err.strip().splitlines()[-1] == told and err.count("broken off") == 1
    assert not target.exists()


def test_a_reader_that_leaves_is_no_error(command, hour) -> None:
    with command.start("transcribe", hour, "--format", "jsonl") as process:
        assert process.stdout is not None and process.stderr is not None
        assert json.loads(process.stdout.readline())["id"] == 0
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == ("", 0)


def test_a_reader_that_leaves_costs_the_archive_nothing(command, hour, tmp_path) -> None:
    kept = tmp_path / "talks.archive"
    told = []
    with command.start("transcribe", hour, "-f", "jsonl", "--archive", kept) as process:
        assert process.stdout is not None and process.stderr is not None
        for _ in range(3):
            told.append(json.loads(process.stdout.readline())["text"])
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == ("", 0)
    with Archive(kept, create=False) as archive:
        turns = list(archive.turns())
    assert [turn.text for turn in turns][:3] == told
    starts = [turn.start_s for turn in turns]
    assert starts == sorted(starts)


@pytest.mark.parametrize("name", ["hour.srt", "hour.json", "hour.jsonl"])
def test_a_closed_window_leaves_a_whole_file(hour, tmp_path, name) -> None:
    target = tmp_path / "texts" / name
    target.parent.mkdir()
    with Terminal("transcribe", hour, "-o", target) as terminal:
        # A document grows under another name.
        terminal.until(lambda _: any(path.stat().st_size > 500 for path in target.parent.iterdir()))
        terminal.hang_up()
        assert terminal.process.wait(timeout=60) == 129
    assert list(target.parent.iterdir()) == [target]
    text = target.read_text()
    if name == "hour.json":
        document = json.loads(text)
        assert document["complete"] is False and document["segments"]
    elif name == "hour.jsonl":
        assert [json.loads(line)["id"] for line in text.splitlines()][:2] == [0, 1]
    assert text.endswith("\n")


def test_who_watches_is_told_where_the_result_is(spoken, tmp_path) -> None:
    target = tmp_path / "a.srt"
    with Terminal("transcribe", spoken["letter"].path, "-o", target, columns=200) as terminal:
        assert terminal.finish() == 0
        assert terminal.lines == [f"{spoken['letter'].path} -> {target}"]
