"""What can still be read of a damaged archive, as a new one."""

from __future__ import annotations

import os
import sqlite3
import sys
from dataclasses import dataclass
from pathlib import Path

from edge_audiokv.archive.schema import TABLES
from edge_audiokv.archive.store import MAX_BYTES, MOST_TEXT_BYTES, Archive
from edge_audiokv.archive.turn import is_time
from edge_audiokv.errors import ArchiveError
from edge_audiokv.files import growing

_MOST_ROWS = 1 << 22


@dataclass(frozen=True)
class Salvaged:
    """`lost` counts numbers of turns that were given and can no longer be read."""

    turns: int
    lost: int


def salvage(damaged: str | os.PathLike[str], target: str | os.PathLike[str]) -> Salvaged:
    """Copy every turn that can be read from `damaged`, row by row, into the new file `target`.

    The damaged file is only read. Raises ArchiveError if `target` exists, or nothing can be read.
    """
    source, new = Path(damaged), Path(target)
    if not os.path.isfile(source):
        raise ArchiveError(f"There is no archive {source}.")
    try:
        there = new.exists()
    except OSError as error:  # a name that no file system takes
        raise _not_made(new, error) from None
    if there:
        raise ArchiveError(f"{new} exists.", cure="Name a file that does not.")
    try:
        db = sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True)
    except sqlite3.Error as error:
        raise ArchiveError(f"{source} cannot be read: {error}.") from None
    try:
        db.text_factory = lambda data: data.decode("utf-8", "replace")
        db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_TEXT_BYTES)
        db.execute("PRAGMA trusted_schema = OFF")
        turns = _rows(db, "turns", "session, start_s, end_s, text")
        sessions = _rows(db, "sessions", "began_s, source, model")
    finally:
        db.close()
    if not turns:
        raise ArchiveError(
            f"Nothing can be read from {source}.", cure="Use a copy, if there is one."
        )
    try:
        # Whole or not at all: half of it would look like all that could be read.
        # SQLite's own lock would meet ours on macOS.
        with growing(new, private=True, locked=sys.platform != "darwin") as part:
            saved = _write(part, turns, sessions)
    except OSError as error:
        raise _not_made(new, error) from None
    return Salvaged(saved, max(turns) - min(turns) + 1 - saved)


def _not_made(new: Path, error: OSError) -> ArchiveError:
    return ArchiveError(
        f"{new} cannot be made: {error.strerror or error}.",
        cure="Name a file in a directory of yours, not too long.",
    )


def _write(part: Path, turns: dict[int, tuple], sessions: dict[int, tuple]) -> int:  # type: ignore[type-arg]
    with Archive(part) as archive, archive.together():
        numbers: dict[int, int] = {}
        for _, (session, start_s, end_s, text) in sorted(turns.items()):
            if not _sound(session, start_s, end_s, text):
                continue
            if session not in numbers:
                began_s, name, model = sessions.get(session, (0.0, "?", ""))
                began_s = began_s if is_time(began_s) else 0.0
                numbers[session] = archive.begin(str(name), model=str(model), began_s=began_s)
            archive.add(numbers[session], start_s, end_s, text)
        return sum(1 for _ in archive.turns())


def _sound(session: object, start_s: object, end_s: object, text: object) -> bool:
    return (
        isinstance(session, int) and is_time(start_s) and is_time(end_s) and isinstance(text, str)
    )


def _rows(db: sqlite3.Connection, table: str, columns: str) -> dict[int, tuple]:  # type: ignore[type-arg]
    """Rows by number, whichever can be read: from the front, from the back, then one by one."""
    rows: dict[int, tuple] = {}  # type: ignore[type-arg]
    # A view of that name would be a program, which may have rows without end.
    try:
        sql = db.execute(
            "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)
        ).fetchone()
    except (sqlite3.Error, UnicodeError):
        return rows
    if sql is None or sql[0] not in TABLES:
        return rows
    n_chars = 0
    for order in ("ASC", "DESC"):
        try:
            query = f"SELECT id, {columns} FROM {table} NOT INDEXED ORDER BY id {order}"
            for number, *values in db.execute(query):
                if number in rows:
                    return rows
                rows[number] = tuple(values)
                n_chars += sum(len(v) for v in values if isinstance(v, str | bytes))
                if len(rows) > _MOST_ROWS or n_chars > MAX_BYTES:
                    return rows
        except (sqlite3.Error, OverflowError, UnicodeError):
            continue
    if not rows:
        return rows
    for number in range(min(rows), min(max(rows), min(rows) + _MOST_ROWS)):
        if number not in rows:
            try:
                found = db.execute(
                    f"SELECT {columns} FROM {table} NOT INDEXED WHERE id = ?", (number,)
                )
                rows.update((number, tuple(values)) for values in found)
            except (sqlite3.Error, OverflowError, UnicodeError):
                continue
    return rows
