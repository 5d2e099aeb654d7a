"""Files: nothing half-written, nothing lost, and every reason why not in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge_audiokv.errors import OutputError
from edge_audiokv.output.target import FORMATS, open_output
from edge_audiokv.output.text import TextWriter


def test_standard_output(capsys, talk):
    with open_output("-", "text") as writer:
        writer.write(talk[2])
    assert capsys.readouterr().out == "Hello there, General.\n"


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_in_every_format(tmp_path, talk, name):
    path = tmp_path / "out"
    with open_output(path, name) as writer:
        for event in talk:
            writer.write(event)
    assert "General" in path.read_text(encoding="utf-8")
    assert os.listdir(tmp_path) == ["out"]


def test_options_reach_the_writer(tmp_path, talk):
    with open_output(tmp_path / "out", "text", timestamps=True) as writer:
        writer.write(talk[2])
    assert (tmp_path / "out").read_text().startswith("[00:00:00.500")


@pytest.mark.parametrize("name", FORMATS)
def test_an_early_failure_leaves_the_old_file(tmp_path, name):
    path = tmp_path / "out"
    path.write_text("old")
    with pytest.raises(RuntimeError), open_output(path, name):
        raise RuntimeError
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["out"]


def test_lines_are_on_disk_before_the_end(tmp_path, talk):
    path = tmp_path / "out.jsonl"
    with open_output(path, "jsonl") as writer:
        writer.write(talk[2])
        assert json.loads(path.read_text())["text"] == "Hello there,\nGeneral."


@pytest.mark.parametrize("name", FORMATS)
def test_any_format_may_take_its_name_when_it_is_whole(tmp_path, talk, name):
    path = tmp_path / "out"
    with open_output(path, name, whole=True) as writer:
        writer.write(talk[2])
        assert not path.exists()
    assert "General" in path.read_text()
    assert os.listdir(tmp_path) == ["out"]


def test_json_takes_its_name_only_when_it_is_whole(tmp_path, talk):
    path = tmp_path / "out.json"
    with open_output(path, "json") as writer:
        writer.write(talk[2])
        assert not path.exists()
    assert json.loads(path.read_text())["complete"] is True


def test_interrupted_json_keeps_what_was_final(tmp_path, talk):
    path = tmp_path / "out.json"
    with pytest.raises(KeyboardInterrupt), open_output(path, "json") as writer:
        writer.write(talk[2])
        raise KeyboardInterrupt
    document = json.loads(path.read_text())
    assert document["complete"] is False and len(document["segments"]) == 1
    assert os.listdir(tmp_path) == ["out.json"]


@pytest.mark.parametrize("name", ["text", "jsonl", "srt", "vtt"])
def test_disk_full(name, talk):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    with (
        pytest.raises(OutputError, match=r"(?s)No space left.*another disk") as caught,
        open_output("/dev/full", name) as writer,
    ):
        writer.write(talk[2])
    assert caught.value.exit_code == 10 and "\n" not in str(caught.value)


def test_disk_full_while_a_document_grows_leaves_nothing(tmp_path, talk, monkeypatch):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    part = tmp_path / ".out.full.part.json"
    part.symlink_to("/dev/full")
    full = (os.open(part, os.O_WRONLY), str(part))
    monkeypatch.setattr("edge_audiokv.files.tempfile.mkstemp", lambda **_: full)
    with (
        pytest.raises(OutputError, match="No space left"),
        open_output(tmp_path / "out.json", "json") as writer,
    ):
        writer.write(talk[2])
    assert os.listdir(tmp_path) == []


def test_unknown_format_names_the_known_ones(tmp_path):
    with (
        pytest.raises(OutputError, match="text, json, jsonl, srt, vtt"),
        open_output(tmp_path / "out", "docx"),
    ):
        pass


@pytest.mark.parametrize(
    ("path", "says"), [("", "is a directory"), ("missing/out", "There is no directory")]
)
def test_impossible_places_are_told_at_once(tmp_path, path, says):
    with pytest.raises(OutputError, match=says), open_output(tmp_path / path, "text"):
        pytest.fail("the block must not run")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc on this system")
def test_a_place_that_nobody_may_write(talk):
    with (
        pytest.raises(OutputError, match=r"/proc/out.srt (cannot|may not) be written"),
        open_output("/proc/out.srt", "srt") as writer,
    ):
        writer.write(talk[2])


def test_a_document_takes_no_place_of_a_pipe_and_leaves_a_link_a_link(tmp_path, talk):
    pipe, link, file = tmp_path / "pipe", tmp_path / "link", tmp_path / "file"
    os.mkfifo(pipe)
    # Both ends at once, so that neither open waits for the other.
    handle = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    try:
        with open_output(pipe, "json") as writer:
            writer.write(talk[2])
        assert json.loads(os.read(handle, 1 << 16))["complete"] is True
    finally:
        os.close(handle)
    assert pipe.is_fifo()
    file.write_text("old")
    link.symlink_to(file)
    with open_output(link, "json") as writer:
        writer.write(talk[2])
    assert link.is_symlink() and json.loads(file.read_text())["complete"] is True
    assert {path.name for path in tmp_path.iterdir()} == {"pipe", "link", "file"}


def test_a_reader_that_left_is_told_as_such(tmp_path, talk):
    reader, writer_end = os.pipe()
    os.close(reader)
    with (
        pytest.raises(BrokenPipeError),
        os.fdopen(writer_end, "w") as stream,
        TextWriter(stream) as writer,
    ):
        writer.write(talk[2])
        writer.write(talk[3])


@pytest.mark.skipif(os.name == "nt", reason="no limits on the size of files there")
@pytest.mark.parametrize("limit_bytes", [1, 60, 100, 170])
def test_a_disk_that_fills_up_keeps_whole_records(tmp_path: Path, limit_bytes: int) -> None:
    path = tmp_path / "talk.jsonl"
    code = (
        "import resource, signal, sys\n"
        "from edge_audiokv.errors import OutputError\n"
        "from edge_audiokv.events import Final\n"
        "from edge_audiokv.output import open_output\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit_bytes}, {limit_bytes}))\n"
        "try:\n"
        f"    with open_output({str(path)!r}, 'jsonl') as writer:\n"
        "        for number in range(9):\n"
        "            writer.write(Final(number, 0.0, 1.0, 'one two three', ()))\n"
        "except OutputError:\n"
        "    sys.exit(10)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 10
    text = path.read_text()
    assert text == "" or text.endswith("\n")
    assert [json.loads(line)["id"] for line in text.splitlines()] == list(
        range(len(text.splitlines()))
    )
    assert limit_bytes < 100 or text


def test_a_closed_standard_output_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)
    with pytest.raises(OutputError, match="closed"), open_output("-", "text"):
        pass
