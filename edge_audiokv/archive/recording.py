"""Finals on their way into an archive, and back: a session a source, begun with its first words."""

from __future__ import annotations

import os
import time
from itertools import islice
from typing import Self

from edge_audiokv.archive.store import Archive
from edge_audiokv.archive.turn import Turn
from edge_audiokv.errors import ArchiveError
from edge_audiokv.events import Final
from edge_audiokv.lifetime import Loadable

# What is kept in memory alone: about 14 hours of speech.
MEMORY_BYTES = 2 << 20


class Recording(Loadable):
    """Keeps finals that have words. An archive that fails costs the archive, never the session.

    Without `path` they are kept in memory, `MEMORY_BYTES` of them, and are gone with it.
    `load` opens the file and raises ArchiveError if it is no archive.
    """

    def __init__(self, path: str | os.PathLike[str] | None, *, model: str = "") -> None:
        self.archive = Archive(path) if path is not None else Archive(None, max_bytes=MEMORY_BYTES)
        self.model = model
        self._source = ""
        self._session: int | None = None
        self._failing = False

    @property
    def nbytes(self) -> int:
        return self.archive.nbytes

    def load(self) -> Self:
        self.archive.load()
        return self

    def close(self) -> None:
        self.archive.close()

    def begin(self, source: str) -> None:
        """What follows is of `source`."""
        self._source = source
        # Memory alone keeps one session, whatever it hears; its clock goes on.
        if self.archive.path is not None:
            self._session = None

    def forget(self) -> None:
        """What follows is another session; what memory alone keeps is gone."""
        self._session = None
        if self.archive.path is None:
            self.archive.close()

    def find(self, text: str, *, limit: int, least_share: float = 0.0) -> list[Turn]:
        """At most `limit` turns of this session that hold telling words of `text`, the best first,
        each with `least_share` of the best's score or more; none if the archive fails.
        """
        if self._session is None:
            return []
        try:
            found = self.archive.search(text, limit=limit, session=self._session)
        except ArchiveError:
            return []
        least = least_share * max((item.score for item in found), default=0.0)
        return [item.turn for item in found if item.score >= least]

    def between(self, from_s: float, to_s: float, *, limit: int) -> list[Turn]:
        """The first turns of this session, at most `limit`, that touch `from_s` to `to_s`; none if
        the archive fails.
        """
        if self._session is None:
            return []
        try:
            turns = self.archive.turns(self._session, from_s=from_s, to_s=to_s)
            return list(islice(turns, limit))
        except ArchiveError:
            return []

    def keep(self, final: Final) -> str | None:
        """Put `final` into the archive; a warning for people if it cannot be and could before."""
        if not final.text.strip():
            return None
        try:
            number = self._add(final)
            if number is None:  # the session was forgotten meanwhile: this is another one
                self._session = None
                self._add(final)
        except ArchiveError as error:
            told, self._failing = self._failing, True
            return None if told else f"what is said is not archived: {error}"
        self._failing = False
        return None

    def _add(self, final: Final) -> int | None:
        if self._session is None:
            # The session began when its clock stood at 0.
            began_s = time.time() - final.end_s
            self._session = self.archive.begin(self._source, model=self.model, began_s=began_s)
        return self.archive.add(self._session, final.start_s, final.end_s, final.text)
