"""`archive`: from the command line as people use it, and from commands that hear."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from edge_audiokv.archive.store import Archive
from edge_audiokv.cli.main import cli
from edge_audiokv.engine.session import Session

from ...conftest import Clip, Command


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "talks.archive"
    with Archive(path) as archive:
        talk = archive.begin("talk.flac", model="m", began_s=1_700_000_000.0)
        archive.add(talk, 0.0, 2.0, "The ferry leaves at nine.")
        archive.add(talk, 3725.0, 3727.5, "She has bought three boats.\x1b[2J")
        other = archive.begin("microphone", began_s=1_800_000_000.0)
        archive.add(other, 1.0, 2.0, "Nobody mentions it here.")
    return path


def run(*args: object, **options: object) -> Result:
    return CliRunner().invoke(cli, ["archive", *map(str, args)], **options)  # type: ignore[arg-type]


def test_list_search_and_show(file: Path) -> None:
    listed = run("list", file).stdout.splitlines()
    assert len(listed) == 2 and "talk.flac" in listed[0] and "01:02:07" in listed[0]
    assert run("search", file, "boat").stdout.startswith(
        "session 1, talk.flac (01:02:05)  She has bought three boats"
    )
    assert "\x1b" not in run("search", file, "boat").stdout + run("show", file).stdout
    assert run("search", file, "submarine").stdout == ""
    shown = run("show", file, "-s", 1, "--from", "1:02:00").stdout
    assert "(01:02:05)" in shown and "ferry" not in shown
    (found,) = json.loads(run("search", file, "ferry", "--json").stdout)
    assert (found["session"], found["start_s"], found["text"]) == (
        1,
        0.0,
        "The ferry leaves at nine.",
    )
    lines = [json.loads(line) for line in run("show", file, "--json").stdout.splitlines()]
    assert [line["session"] for line in lines] == [1, 1, 2]
    assert len(json.loads(run("list", file, "--json").stdout)) == 2


def test_export_writes_any_format(file: Path, tmp_path: Path) -> None:
    target = tmp_path / "talk.srt"
    assert run("export", file, "-s", 1, "-o", target).exit_code == 0
    assert "00:00:00,000 -->" in target.read_text()
    again = run("export", file, "-s", 2, "-o", target)
    assert "is there already" in str(again.exception) and "ferry" in target.read_text()
    assert run("export", file, "-s", 2, "-o", target, "--overwrite").exit_code == 0
    assert "ferry" not in target.read_text()
    assert "say which" in run("export", file).stderr
    lines = run("export", file, "-s", 2, "-f", "jsonl").stdout.splitlines()
    assert json.loads(lines[0])["text"] == "Nobody mentions it here."


def test_forget_asks_first_and_says_how_much_went(file: Path) -> None:
    assert run("forget", file, "-s", 1, input="n\n").exit_code != 0
    assert len(run("list", file).stdout.splitlines()) == 2
    assert run("forget", file, "-s", 1, input="y\n").stderr.endswith("2 turns deleted.\n")
    assert run("forget", file, "--before", "2024-01-01", "--yes").stderr == "0 turns deleted.\n"
    assert run("forget", file, "--all", "--yes").stderr == "1 turn deleted.\n"
    assert "Say what" in run("forget", file).stderr


def test_salvage_saves_into_a_new_file(file: Path, tmp_path: Path) -> None:
    done = run("salvage", file, tmp_path / "saved")
    assert "3 turns saved" in done.stderr
    assert len(run("list", tmp_path / "saved").stdout.splitlines()) == 2


@pytest.mark.parametrize(
    ("args", "cure"),
    [
        (("list", "none.archive"), "--archive FILE"),
        (("show", "FILE", "-s", 9), "There are: 1, 2"),
        (("show", "FILE", "--from", "a quarter past"), "1:15"),
        (("forget", "FILE", "--before", "yesterday"), "%Y-%m-%d"),
        (("search", "FILE", " ", ""), "name some"),
    ],
)
def test_what_can_not_be_done_is_told(
    command: Command, file: Path, args: tuple[object, ...], cure: str
) -> None:
    ran = command("archive", *(file if arg == "FILE" else arg for arg in args))
    assert ran.code in (2, 12) and cure in ran.complaint


@pytest.mark.integration
def test_what_a_command_hears_is_archived(
    command: Command, spoken: dict[str, Clip], tmp_path: Path
) -> None:
    path, clip = tmp_path / "a", spoken["two_sentences"]
    listened = command("listen", clip.path, "--archive", path, "-t", 1)
    transcribed = command("transcribe", clip.path, "--archive", path, "-t", 1)
    assert listened.code == transcribed.code == 0, (listened, transcribed)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with Archive(path, create=False) as archive:
        first, second = archive.sessions()
        turns = [list(archive.turns(item.id)) for item in (first, second)]
    assert Path(first.source).name == Path(second.source).name == clip.path.name
    for ran, said in zip((listened, transcribed), turns, strict=True):
        assert [turn.text for turn in said] == ran.out.splitlines()
        assert said[-1].end_s <= clip.duration_s + 0.5


@pytest.mark.integration
def test_a_session_goes_on_when_its_archive_fails(spoken: dict[str, Clip], tmp_path: Path) -> None:
    path = tmp_path / "a"
    with Session(threads=1, archive=path, partial_interval_s=0) as session:
        assert session.memory().parts["archive"] > 0
        # Somebody else holds the file for longer than a session waits.
        holder = Archive(path).load()
        session._place.recording.archive._db.execute("PRAGMA busy_timeout = 50")  # type: ignore[union-attr]
        with holder.together():
            events = list(session.listen(spoken["two_sentences"].path))
        holder.close()
        finals = [event for event in events if event.wire_name() == "final"]
        warnings = [event.message for event in events if event.wire_name() == "warned"]  # type: ignore[attr-defined]
        assert finals and any("in use by another process" in text for text in warnings)
        list(session.listen(spoken["two_sentences"].path))
        with Archive(path, create=False) as archive:
            assert len(list(archive.turns())) == len(finals)
