"""What an assistant may ask of an archive; each answer is bounded and JSON-ready.

An archive that `listen --archive` is writing may be read meanwhile: what is final is there.
"""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from typing import Any

from edge_audiokv.archive.search import MARK
from edge_audiokv.archive.store import Archive
from edge_audiokv.archive.turn import StoredSession, Turn
from edge_audiokv.errors import InputError

MOST_FOUND = 50
MOST_TURNS = 200
MOST_SESSIONS = 200
# A page of turns ends beyond this, so that no answer fills an assistant's context.
_MOST_CHARS = 20_000


class TranscriptTools:
    """Sessions, search and stretches of `archive`, which is open."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def sessions(self) -> dict[str, Any]:
        """The latest sessions, oldest first."""
        latest: deque[StoredSession] = deque(maxlen=MOST_SESSIONS)
        n = 0
        for n, item in enumerate(self._archive.sessions(), 1):  # noqa: B007 - its last is the count
            latest.append(item)
        listed = [{**item.to_dict(), "began": _date(item.began_s)} for item in latest]
        return {"sessions": listed, "n_older": n - len(listed)}

    def search(self, question: str, limit: int = 10, session: int | None = None) -> dict[str, Any]:
        """Turns with telling words of `question`, the best first, each with when it was said."""
        if not 1 <= limit <= MOST_FOUND:
            raise InputError(f"limit is {limit}.", cure=f"Use 1 to {MOST_FOUND}.")
        self._check(session)
        found = self._archive.search(question, limit=limit, session=session)
        return {
            "found": [
                {**_turn(item.turn), "marked": item.marked.replace(MARK, "**")} for item in found
            ]
        }

    def get(self, session: int, from_s: float = 0.0, to_s: float | None = None) -> dict[str, Any]:
        """What was said in a session between two times, in order; `more_from_s` if that is more
        than one answer holds.
        """
        self._check(session)
        until_s = float("inf") if to_s is None else to_s
        if not from_s <= until_s:
            raise InputError(f"from_s {from_s:g} is after to_s {until_s:g}.", cure="Swap them.")
        turns: list[dict[str, Any]] = []
        chars, more_from_s = 0, None
        for turn in self._archive.turns(session, from_s=from_s, to_s=until_s):
            chars += len(turn.text)
            if len(turns) == MOST_TURNS or (turns and chars > _MOST_CHARS):
                more_from_s = turn.start_s
                break
            turns.append(_turn(turn))
        return {"turns": turns, "more_from_s": more_from_s}

    def _check(self, session: int | None) -> None:
        if session is None:
            return
        ids = [item.id for item in self._archive.sessions()]
        if session not in ids:
            known = f"{ids[0]} to {ids[-1]}" if ids else "none so far"
            raise InputError(f"There is no session {session}.", cure=f"There are: {known}.")


def _turn(turn: Turn) -> dict[str, Any]:
    return {**turn.to_dict(), "said": _date(turn.said_s)}


def _date(time_s: float) -> str | None:
    """As people write it, in UTC; None for a time that no calendar has."""
    try:
        return datetime.fromtimestamp(time_s, UTC).isoformat(timespec="seconds")
    except (OverflowError, OSError, ValueError):
        return None
