"""The archive: a bounded SQLite file of what was said, safe against a kill at any moment.

Every turn is written in a transaction of its own and is on the disk when `add` returns (WAL with
full synchronisation), so what was told is there. The file is its owner's alone.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from edge_audiokv.archive import schema
from edge_audiokv.archive.search import MARK, query_of
from edge_audiokv.archive.turn import Found, StoredSession, Turn
from edge_audiokv.errors import ArchiveError, InputError
from edge_audiokv.files import open_private
from edge_audiokv.lifetime import Loadable
from edge_audiokv.units import without_controls

# Five hundred hours of speech or so.
MAX_BYTES = 256 << 20
LEAST_BYTES = 1 << 20
_PAGE_BYTES = 4096
_CACHE_BYTES = 1 << 20
# What one connection takes beside its pages.
_CONNECTION_BYTES = 1 << 19
MOST_TEXT_BYTES = 1 << 20
_BUSY_S = 5.0
# Of the oldest turns, when the limit is near; then there is room for hours.
_DROP_SHARE = 0.05
# The index needs room to delete.
_FULL_SHARE = 0.8
_TURN = "t.id, t.session, t.start_s, t.end_s, t.text, s.began_s + t.start_s"
_JOINED = "turns AS t JOIN sessions AS s ON s.id = t.session"


class Archive(Loadable):
    """Turns by session, in the order in which they were said; the oldest leave first.

    `path` is a file, or None for memory alone. `max_bytes` bounds the file (its journal, of at
    most 4 MB, beside it): when it is nearly full the oldest 5 % of the turns are dropped. With
    `create` a missing file is made. One archive may be used from any thread, and a file by several
    processes.

    `load` and all else raise ArchiveError: not an archive, damaged, in use, or a full disk.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None,
        *,
        max_bytes: int = MAX_BYTES,
        create: bool = True,
    ) -> None:
        if max_bytes < LEAST_BYTES:
            raise InputError(
                f"An archive of {max_bytes} bytes is too small.", cure=f"Use {LEAST_BYTES} or more."
            )
        self.path = Path(path) if path is not None else None
        self.max_bytes = max_bytes
        self.create = create
        self._lock = threading.RLock()
        self._db: sqlite3.Connection | None = None

    # --- life -------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return str(self.path) if self.path is not None else "the archive in memory"

    @property
    def nbytes(self) -> int:
        """Bytes of this process at most: of a file SQLite's page cache, else all it may hold."""
        if self._db is None:
            return 0
        return (_CACHE_BYTES if self.path is not None else self.max_bytes) + _CONNECTION_BYTES

    @property
    def file_bytes(self) -> int:
        """Bytes of the database, free pages included; the journal is not counted."""
        with self._using() as db:
            return int(db.execute("PRAGMA page_count").fetchone()[0]) * _PAGE_BYTES

    def load(self) -> Self:
        with self._lock:
            if self._db is None:
                self._db = self._open()
        return self

    def close(self) -> None:
        with self._lock:
            db, self._db = self._db, None
            if db is not None:
                db.close()

    def _open(self) -> sqlite3.Connection:
        with self._failing():
            target = self._target()
            db = sqlite3.connect(
                target,
                uri=self.path is not None,
                timeout=_BUSY_S,
                isolation_level=None,
                check_same_thread=False,
            )
            try:
                self._prepare(db)
            except BaseException:
                db.close()
                raise
            return db

    def _target(self) -> str:
        if self.path is None:
            return ":memory:"
        if self.path.is_dir():
            raise ArchiveError(f"{self.path} is a directory.", cure="Name a file in it.")
        if not self.path.exists():
            if not self.create:
                raise ArchiveError(
                    f"There is no archive {self.path}.",
                    cure="listen, transcribe and ask make one with --archive FILE.",
                )
            os.close(open_private(self.path, append=True))
        elif not self.path.is_file():
            raise ArchiveError(f"{self.path} is no file.", cure="Name another file.")
        mode = "rw" if os.access(self.path, os.W_OK) else "ro"
        return f"{self.path.resolve().as_uri()}?mode={mode}"

    def _prepare(self, db: sqlite3.Connection) -> None:
        db.text_factory = _text
        db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_TEXT_BYTES)
        # Nothing in the file may call a function of SQLite's that reaches outside it.
        db.execute("PRAGMA trusted_schema = OFF")
        db.execute(f"PRAGMA cache_size = -{_CACHE_BYTES // 1024}")
        if self.create:
            with _at_once(db):
                if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
                    schema.create(db)
        schema.check(db, self.name)
        if self.path is not None and not os.access(self.path, os.W_OK):
            return
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA secure_delete = ON")
        db.execute(f"PRAGMA journal_size_limit = {4 << 20}")
        db.execute(f"PRAGMA max_page_count = {self.max_bytes // _PAGE_BYTES}")

    # --- writing ----------------------------------------------------------------------------------

    def begin(self, source: str, *, model: str = "", began_s: float | None = None) -> int:
        """A new session of `source` (a file's name, "microphone"); its number."""
        began_s = time.time() if began_s is None else began_s
        with self._using() as db:
            return int(
                db.execute(
                    "INSERT INTO sessions (began_s, source, model) VALUES (?, ?, ?)",
                    (began_s, source, model),
                ).lastrowid
                or 0
            )

    def add(self, session: int, start_s: float, end_s: float, text: str) -> int | None:
        """Keep a turn of `session`; its number. It is on the disk when this returns.

        None, and nothing is kept, if the session has been forgotten meanwhile.
        """
        text = without_controls(text)  # FTS5 ends a text at NUL
        with self._using() as db:
            self._make_room(db)
            with _at_once(db):
                done = db.execute(
                    "INSERT INTO turns (session, start_s, end_s, text) SELECT ?, ?, ?, ? "
                    "WHERE EXISTS (SELECT 1 FROM sessions WHERE id = ?)",
                    (session, start_s, end_s, text, session),
                )
                if done.rowcount == 0:
                    return None
                number = done.lastrowid
                db.execute("INSERT INTO words (rowid, text) VALUES (?, ?)", (number, text))
        return number

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is added inside is on the disk at the end, all of it or nothing; much faster."""
        with self._using() as db, _at_once(db):
            yield

    def forget(self, session: int | None = None, *, before_s: float | None = None) -> int:
        """Delete a session, all turns said before `before_s` (since 1970), or everything.

        Returns how many turns went. What is deleted is overwritten, and the file shrinks.
        """
        with self._using() as db:
            with _at_once(db):
                if session is not None:
                    where: tuple[str, tuple[float, ...]] = ("t.session = ?", (session,))
                elif before_s is not None:
                    where = ("s.began_s + t.start_s < ?", (before_s,))
                else:
                    where = ("1", ())
                gone = _delete(db, *where)
                if session is not None:
                    db.execute("DELETE FROM sessions WHERE id = ?", (session,))
                elif before_s is None:
                    db.execute("DELETE FROM sessions")
                _drop_empty(db)
                # The index keeps words of what is deleted until its parts are merged.
                db.execute("INSERT INTO words (words) VALUES ('rebuild')")
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return gone

    def _make_room(self, db: sqlite3.Connection) -> None:
        (pages,) = db.execute("PRAGMA page_count").fetchone()
        (free,) = db.execute("PRAGMA freelist_count").fetchone()
        if (pages - free) * _PAGE_BYTES < self.max_bytes * _FULL_SHARE:
            return
        with _at_once(db):
            first, last = db.execute("SELECT min(id), max(id) FROM turns").fetchone()
            if first is not None:
                _delete(db, "t.id <= ?", (first + (last - first) * _DROP_SHARE,))
                _drop_empty(db)
                # Merges parts of the index, so that it forgets what is deleted; a piece at a time.
                db.execute("INSERT INTO words (words, rank) VALUES ('merge', -500)")

    # --- reading ----------------------------------------------------------------------------------

    def sessions(self) -> Iterator[StoredSession]:
        """All sessions, oldest first."""
        with self._using() as db:
            rows = db.execute(
                "SELECT s.id, s.began_s, s.source, s.model, count(t.id), "
                "coalesce(max(t.end_s), 0) FROM sessions AS s LEFT JOIN turns AS t "
                "ON t.session = s.id GROUP BY s.id ORDER BY s.id"
            ).fetchall()
            sessions = [StoredSession.from_row(row) for row in rows]
        yield from sessions

    def turns(
        self, session: int | None = None, *, from_s: float = 0.0, to_s: float = float("inf")
    ) -> Iterator[Turn]:
        """Turns in order, of one session or of all, that touch `from_s` to `to_s`."""
        last = (-1, -1.0, -1)
        # A page at a time: an archive is larger than what a process may hold.
        while True:
            with self._using() as db:
                rows = db.execute(
                    f"SELECT {_TURN} FROM {_JOINED} WHERE (? IS NULL OR t.session = ?) "
                    "AND t.end_s >= ? AND t.start_s <= ? AND (t.session, t.start_s, t.id) > "
                    "(?, ?, ?) ORDER BY t.session, t.start_s, t.id LIMIT 256",
                    (session, session, from_s, to_s, *last),
                ).fetchall()
            if not rows:
                return
            with self._failing():
                turns = [Turn.from_row(row) for row in rows]
            yield from turns
            last = (turns[-1].session, turns[-1].start_s, turns[-1].id)

    def search(self, text: str, *, limit: int = 10, session: int | None = None) -> list[Found]:
        """At most `limit` turns that hold telling words of `text`, the best first."""
        query = query_of(without_controls(text))
        if not query:
            return []
        with self._using() as db:
            rows = db.execute(
                "SELECT rowid, rank FROM words WHERE words MATCH ? AND (? IS NULL OR rowid IN "
                "(SELECT id FROM turns WHERE session = ?)) ORDER BY rank LIMIT ?",
                (query, session, session, limit),
            ).fetchall()
            return [self._found(db, query, number, rank) for number, rank in rows]

    def _found(self, db: sqlite3.Connection, query: str, number: int, rank: float) -> Found:
        row = db.execute(f"SELECT {_TURN} FROM {_JOINED} WHERE t.id = ?", (number,)).fetchone()
        if row is None:
            raise sqlite3.DatabaseError("the index names a turn that is not there")
        (marked,) = db.execute(
            "SELECT highlight(words, 0, ?, ?) FROM words WHERE words MATCH ? AND rowid = ?",
            (MARK, MARK, query, number),
        ).fetchone()
        return Found(Turn.from_row(row), -rank, str(marked))

    # --- errors -----------------------------------------------------------------------------------

    @contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self.load()
            if self._db is None:
                raise RuntimeError("load() left nothing")
            with self._failing():
                yield self._db

    @contextmanager
    def _failing(self) -> Iterator[None]:
        """Errors of SQLite and of the system as ArchiveError, each with its cure."""
        try:
            yield
        except (sqlite3.Error, OSError, OverflowError, UnicodeError) as error:
            raise _told(self.name, error) from None


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _told(name: str, error: Exception) -> ArchiveError:
    kind = getattr(error, "sqlite_errorname", "")
    damaged = type(error) is sqlite3.DatabaseError or isinstance(error, UnicodeError)
    if damaged or kind.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return ArchiveError(
            f"{name} is damaged or no archive: {error}.",
            cure=f"`edge-audiokv archive salvage {name} NEW` saves what can be read.",
        )
    if kind.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return ArchiveError(f"{name} is in use by another process.", cure="Try again later.")
    if kind.startswith("SQLITE_FULL"):
        return ArchiveError(
            f"{name} cannot grow.", cure="Free some space or name a file on another disk."
        )
    what = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return ArchiveError(
        f"{name} cannot be used: {what}.", cure="Name a file in a directory of yours."
    )


@contextmanager
def _at_once(db: sqlite3.Connection) -> Iterator[None]:
    """All that is done inside, or nothing."""
    nested = db.in_transaction
    if not nested:
        db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        with suppress(sqlite3.Error):  # a full file ends it by itself
            db.execute("ROLLBACK")
        raise
    if not nested:
        db.execute("COMMIT")


def _delete(db: sqlite3.Connection, where: str, values: tuple[float, ...]) -> int:
    """Delete turns and what the index knows of them; how many."""
    chosen = f"SELECT t.id FROM {_JOINED} WHERE {where}"
    # The index needs the texts to find its own entries.
    db.execute(
        "INSERT INTO words (words, rowid, text) SELECT 'delete', id, text FROM turns "
        f"WHERE id IN ({chosen})",
        values,
    )
    return db.execute(f"DELETE FROM turns WHERE id IN ({chosen})", values).rowcount


def _drop_empty(db: sqlite3.Connection) -> None:
    """Sessions that lost all their turns; the newest may just have begun."""
    db.execute(
        "DELETE FROM sessions WHERE id NOT IN (SELECT session FROM turns) "
        "AND id < (SELECT max(id) FROM sessions)"
    )
