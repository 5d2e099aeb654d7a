"""What an archive looks like inside: an SQLite file with two tables and an index of words.

Anybody can hand us such a file, so it is used only if it holds these tables and nothing else: a
view or a trigger in it would be code that runs when we read.
"""

from __future__ import annotations

import sqlite3

from edge_audiokv.errors import ArchiveError

APPLICATION_ID = 0x65614B56  # "eaKV"
VERSION = 1

TABLES = (
    "CREATE TABLE sessions (id INTEGER PRIMARY KEY, began_s REAL NOT NULL, source TEXT NOT NULL, "
    "model TEXT NOT NULL)",
    "CREATE TABLE turns (id INTEGER PRIMARY KEY, session INTEGER NOT NULL, start_s REAL NOT NULL, "
    "end_s REAL NOT NULL, text TEXT NOT NULL)",
    "CREATE INDEX turns_by_time ON turns (session, start_s)",
    # The index holds no second copy of the texts; `porter` finds "boats" by "boat".
    "CREATE VIRTUAL TABLE words USING fts5(text, content='turns', content_rowid='id', "
    "tokenize='porter unicode61')",
)
# Tables that FTS5 makes for itself.
_SHADOWS = frozenset(f"words_{name}" for name in ("config", "data", "docsize", "idx"))


def create(db: sqlite3.Connection) -> None:
    """Make the tables of a new archive."""
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {VERSION}")
    for statement in TABLES:
        db.execute(statement)


def check(db: sqlite3.Connection, name: str) -> None:
    """Raise ArchiveError unless the file holds exactly the tables of this version."""
    (application_id,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if application_id != APPLICATION_ID:
        raise ArchiveError(
            f"{name} is a database of another program.", cure="Name another file for the archive."
        )
    if version != VERSION:
        raise ArchiveError(
            f"{name} is an archive of version {version}; this edge-audiokv writes {VERSION}.",
            cure="Use the version of edge-audiokv that made it, or another file.",
        )
    rows = db.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
    # A trigger or a view may be called as a table of FTS5 is.
    shadows = {name for kind, name, _ in rows if kind == "table" and name in _SHADOWS}
    found = {
        sql
        for kind, name, sql in rows
        if sql is not None and not (kind == "table" and name in _SHADOWS)
    }
    if found != set(TABLES) or shadows != _SHADOWS:
        raise ArchiveError(
            f"{name} holds other tables than an archive does; it is not opened.",
            cure="Name another file for the archive.",
        )
