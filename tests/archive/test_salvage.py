"""Damage is told, never followed; what can be read of it is saved."""

from __future__ import annotations

import random
import sqlite3
from contextlib import suppress
from pathlib import Path

import pytest

from edge_audiokv.archive.salvage import salvage
from edge_audiokv.archive.store import Archive
from edge_audiokv.errors import ArchiveError

N_TURNS = 400


@pytest.fixture
def whole(tmp_path: Path) -> bytes:
    path = tmp_path / "whole"
    with Archive(path) as archive:
        session = archive.begin("talk.flac", model="m", began_s=5.0)
        for number in range(N_TURNS):
            text = f"turn {number} about ship{number} and the harbour"
            archive.add(session, float(number), number + 0.5, text)
    return path.read_bytes()


def test_a_whole_archive_is_saved_whole(tmp_path: Path, whole: bytes) -> None:
    (tmp_path / "a").write_bytes(whole)
    done = salvage(tmp_path / "a", tmp_path / "b")
    assert (done.turns, done.lost) == (N_TURNS, 0)
    with Archive(tmp_path / "b", create=False) as archive:
        assert archive.search("ship77")[0].turn.start_s == 77.0
        (session,) = archive.sessions()
        assert (session.source, session.model, session.began_s) == ("talk.flac", "m", 5.0)


def test_most_of_an_archive_with_a_broken_page_is_saved(tmp_path: Path, whole: bytes) -> None:
    at = whole.index(b"turn 200 about") // 4096 * 4096
    (tmp_path / "a").write_bytes(whole[:at] + bytes(4096) + whole[at + 4096 :])
    with Archive(tmp_path / "a") as archive, pytest.raises(ArchiveError, match="archive salvage"):
        list(archive.turns())
    done = salvage(tmp_path / "a", tmp_path / "b")
    assert 0.5 * N_TURNS < done.turns < N_TURNS and done.turns + done.lost == N_TURNS
    with Archive(tmp_path / "b", create=False) as archive:
        assert archive.search("ship399") and not archive.search("ship200")


def test_nothing_is_saved_from_nothing_and_nothing_is_overwritten(
    tmp_path: Path, whole: bytes
) -> None:
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(ArchiveError, match="Nothing can be read"):
        salvage(tmp_path / "a", tmp_path / "b")
    assert not (tmp_path / "b").exists()
    (tmp_path / "b").write_text("mine")
    with pytest.raises(ArchiveError, match="exists"):
        salvage(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "mine"
    with pytest.raises(ArchiveError, match="There is no archive"):
        salvage(tmp_path / "none", tmp_path / "c")


@pytest.mark.parametrize(
    "row",
    [
        "WITH RECURSIVE c(x) AS (VALUES(1) UNION ALL SELECT x + 1 FROM c) SELECT x AS id, "
        "1 AS session, 0.0 AS start_s, 1.0 AS end_s, 'words' AS text FROM c",
        "SELECT 'x' AS id, 1 AS session, 0.0 AS start_s, 1.0 AS end_s, 'words' AS text",
        "SELECT 1 AS id, 1 AS session, 0.0 AS start_s, 1.0 AS end_s, "
        "hex(zeroblob(2000000)) AS text",
    ],
)
def test_a_program_in_place_of_a_table_is_not_run(tmp_path: Path, row: str) -> None:
    with sqlite3.connect(tmp_path / "a") as db:
        db.execute(f"CREATE VIEW turns AS {row}")
    db.close()
    with pytest.raises(ArchiveError, match="Nothing can be read"):
        salvage(tmp_path / "a", tmp_path / "b")
    assert [path.name for path in tmp_path.iterdir() if path.name != "whole"] == ["a"]


def test_damage_anywhere_raises_archive_errors_alone(tmp_path: Path, whole: bytes) -> None:
    draw = random.Random(11)
    path, opened, failed = tmp_path / "a", 0, 0
    for _ in range(80):
        data = bytearray(whole[: draw.randrange(len(whole)) if draw.random() < 0.3 else None])
        for _ in range(draw.choice((0, 1, 3, 40))):
            if data:
                data[draw.randrange(len(data))] = draw.randrange(256)
        for leftover in tmp_path.glob("a*"):
            leftover.unlink()
        path.write_bytes(data)
        try:
            with Archive(path) as archive:
                opened += 1
                list(archive.sessions())
                archive.search("harbour ship7")
                list(archive.turns())
                session = archive.begin("more")
                archive.add(session, 0.0, 1.0, "more words")
        except ArchiveError:
            failed += 1
        with suppress(ArchiveError):
            salvage(path, tmp_path / "saved")
        for leftover in tmp_path.glob("saved*"):
            leftover.unlink()
    assert opened > 10 and failed > 10
