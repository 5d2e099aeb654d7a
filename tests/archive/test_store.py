"""What goes into an archive comes out again, in order, within its limit, for its owner alone."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_audiokv.archive import schema
from edge_audiokv.archive.store import LEAST_BYTES, Archive
from edge_audiokv.errors import ArchiveError, InputError
from edge_audiokv.units import without_controls


def fill(archive: Archive, texts: list[str], source: str = "talk.flac") -> int:
    session = archive.begin(source, model="m", began_s=1000.0)
    for number, text in enumerate(texts):
        archive.add(session, number * 2.0, number * 2.0 + 1.5, text)
    return session


def test_turns_come_back_in_order_with_their_times(tmp_path: Path) -> None:
    texts = [f"sentence number {number}" for number in range(600)]  # more than one page of rows
    with Archive(tmp_path / "a") as archive:
        session = fill(archive, texts)
    with Archive(tmp_path / "a", create=False) as archive:
        turns = list(archive.turns())
        (stored,) = archive.sessions()
        between = list(archive.turns(session, from_s=100.0, to_s=104.0))
    assert [turn.text for turn in turns] == texts
    assert turns[3].start_s == 6.0 and turns[3].said_s == 1006.0
    assert (stored.turns, stored.source, stored.model, stored.end_s) == (
        600,
        "talk.flac",
        "m",
        1199.5,
    )
    assert [turn.start_s for turn in between] == [100.0, 102.0, 104.0]


@given(st.lists(st.text(), max_size=8), st.text())
@settings(max_examples=100)
def test_any_text_is_kept_and_any_text_can_be_searched(texts: list[str], words: str) -> None:
    # What steers terminals is left out; lone surrogates cannot be encoded at all.
    texts = [without_controls(text.encode("utf-8", "replace").decode()) for text in texts]
    with Archive(None) as archive:
        fill(archive, texts)
        assert [turn.text for turn in archive.turns()] == texts
        for found in archive.search(words.encode("utf-8", "replace").decode()):
            assert found.turn.text in texts
            assert found.marked.replace("\x02", "") == found.turn.text


def test_a_new_file_is_its_owners_alone_and_so_is_its_journal(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        with Archive(tmp_path / "a") as archive:
            fill(archive, ["something private"])
            files = list(tmp_path.iterdir())
            modes = {stat.S_IMODE(path.stat().st_mode) for path in files}
    finally:
        os.umask(old)
    assert len(files) == 3 and modes == {0o600}


def test_the_oldest_leave_when_it_is_full_and_the_file_stays_within_its_limit(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a"
    with Archive(path, max_bytes=LEAST_BYTES) as archive:
        session = archive.begin("microphone")
        for number in range(6000):
            text = f"turn {number} about boat{number % 97} and " + "harbour light " * 12
            assert archive.add(session, float(number), number + 1.0, text) is not None
            if number % 500 == 0:
                assert path.stat().st_size <= LEAST_BYTES
                assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 6 * LEAST_BYTES
        left = [turn.start_s for turn in archive.turns()]
        newest = archive.search("turn 5999", limit=1)
        oldest = archive.search("boat0 turn", limit=1000)
    assert left == sorted(left) and left[-1] == 5999 and 500 < len(left) < 6000
    assert newest[0].turn.start_s == 5999
    assert min(found.turn.start_s for found in oldest) >= left[0]  # the index forgot them, too


def test_what_is_forgotten_is_not_in_the_files_any_more(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with Archive(path) as archive:
        secret = fill(archive, ["the code is xylophone quagmire"])
        fill(archive, ["the weather is fine"], "other.flac")
        assert archive.forget(secret) == 1
        assert archive.search("xylophone") == []
        assert [item.source for item in archive.sessions()] == ["other.flac"]
        held = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"xylophone" not in held and b"xylophon" not in held
    assert b"weather" in held
    with Archive(path) as archive:
        assert archive.forget(before_s=1000.5) == 1
        assert list(archive.turns()) == []


def test_a_forgotten_session_takes_no_more_turns() -> None:
    with Archive(None) as archive:
        session = fill(archive, ["one"])
        archive.forget()
        assert archive.add(session, 0.0, 1.0, "two") is None
        assert list(archive.turns()) == []


def test_threads_and_two_handles_write_at_once(tmp_path: Path) -> None:
    def write(archive: Archive, source: str) -> None:
        session = archive.begin(source)
        for number in range(40):
            archive.add(session, float(number), number + 1.0, f"{source} {number}")

    with Archive(tmp_path / "a") as one, Archive(tmp_path / "a") as other:
        threads = [
            threading.Thread(target=write, args=(archive, f"source{index}"))
            for index, archive in enumerate((one, one, other))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(item.turns for item in one.sessions()) == [40, 40, 40]


def test_what_can_not_be_opened_is_told_with_a_cure(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="There is no archive"):
        Archive(tmp_path / "none", create=False).load()
    with pytest.raises(ArchiveError, match="is a directory"):
        Archive(tmp_path).load()
    with pytest.raises(ArchiveError, match="cannot be used"):
        Archive(tmp_path / "no" / "folder").load()
    with pytest.raises(InputError):
        Archive(None, max_bytes=10)
    text = tmp_path / "notes.txt"
    text.write_text("these are notes, not a database, and they are long enough to be read" * 20)
    before = text.read_bytes()
    with pytest.raises(ArchiveError, match="damaged or no archive"):
        Archive(text).load()
    assert text.read_bytes() == before


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER t AFTER INSERT ON turns BEGIN DELETE FROM turns; END",
        "CREATE VIEW v AS SELECT load_extension('x')",
        "CREATE TABLE more (a)",
        "DROP INDEX turns_by_time",
        # Called as a table of FTS5's own is.
        "CREATE TRIGGER words_data AFTER DELETE ON turns BEGIN SELECT 1; END",
        "DROP TABLE words; CREATE VIEW words_config AS SELECT 1",
    ],
)
def test_a_file_with_other_contents_is_refused(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "a"
    with Archive(path) as archive:
        fill(archive, ["one"])
    with sqlite3.connect(path) as db:
        db.executescript(statement)
    db.close()
    with pytest.raises(ArchiveError, match="holds other tables"):
        Archive(path).load()


@pytest.mark.parametrize(
    ("column", "time_s"),
    [("start_s", "-9e999"), ("start_s", "-1e300"), ("end_s", "9e999"), ("end_s", "1e300")],
)
def test_times_that_no_clock_shows_are_damage(tmp_path: Path, time_s: str, column: str) -> None:
    path = tmp_path / "a"
    with Archive(path) as archive:
        fill(archive, ["one"])
    with sqlite3.connect(path) as db:
        db.execute(f"UPDATE turns SET {column} = {time_s}")
    db.close()
    with Archive(path) as archive, pytest.raises(ArchiveError, match="archive salvage"):
        list(archive.turns())


def test_other_programs_databases_and_other_versions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE passwords (a)")
    with pytest.raises(ArchiveError, match="another program"):
        Archive(path).load()
    db.execute("DROP TABLE passwords")
    db.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
    db.execute("PRAGMA user_version = 99")
    db.commit()
    with pytest.raises(ArchiveError, match="version 99"):
        Archive(path, create=False).load()
    db.close()


def test_a_file_that_may_only_be_read_can_be_searched(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "a"
    with Archive(path) as archive:
        fill(archive, ["the boat leaves at noon"])
    # Root may write everything, so the question is answered for it.
    monkeypatch.setattr(os, "access", lambda name, mode: mode != os.W_OK)
    with Archive(path, create=False) as archive:
        assert [found.turn.text for found in archive.search("boats")] == ["the boat leaves at noon"]
        with pytest.raises(ArchiveError):
            archive.forget()


def test_bytes_are_known(tmp_path: Path) -> None:
    archive = Archive(None)
    assert archive.nbytes == 0
    with archive:
        fill(archive, ["word " * 1000] * 50)
        assert archive.nbytes > archive.file_bytes > 250_000
    archive.close()
    archive.close()
    assert archive.nbytes == 0
