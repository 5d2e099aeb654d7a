"""What an archive holds: sessions, and the turns that were said in them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from edge_audiokv.units import without_controls

# No time is so far away; beyond, and at infinity, no clock can show it.
_MOST_S = 1e15


def is_time(value: object) -> bool:
    return isinstance(value, float) and abs(value) <= _MOST_S


def _time(value: Any) -> float:
    """Raises TypeError or ValueError for what is no time."""
    time_s = float(value)
    if not abs(time_s) <= _MOST_S:
        raise ValueError("no time")
    return time_s


def _json_ready(data: dict[str, Any]) -> dict[str, Any]:
    return {name: round(v, 3) if name.endswith("_s") else v for name, v in data.items()}


@dataclass(frozen=True)
class Turn:
    """A segment with its final text. Times are seconds since its session's first sample.

    `said_s` is when it began, in seconds since 1970.
    """

    id: int
    session: int
    start_s: float
    end_s: float
    text: str
    said_s: float

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> Turn:
        """Raises DatabaseError if a value is not of its column's type."""
        try:
            number, session, start_s, end_s, text, said_s = row
            times_s = _time(start_s), _time(end_s)
            return cls(int(number), int(session), *times_s, without_controls(text), _time(said_s))
        except (TypeError, ValueError):
            raise sqlite3.DatabaseError("a turn holds values of another type") from None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; seconds are rounded to three digits."""
        return _json_ready(asdict(self))


@dataclass(frozen=True)
class StoredSession:
    """One recording or one time of listening. `began_s` is in seconds since 1970."""

    id: int
    began_s: float
    source: str
    model: str
    turns: int
    end_s: float

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> StoredSession:
        """Raises DatabaseError if a value is not of its column's type."""
        try:
            number, began_s, source, model, turns, end_s = row
            texts = source + "", model + ""
            return cls(int(number), _time(began_s), *texts, int(turns), _time(end_s))
        except (TypeError, ValueError):
            raise sqlite3.DatabaseError("a session holds values of another type") from None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; seconds are rounded to three digits."""
        return _json_ready(asdict(self))


@dataclass(frozen=True)
class Found:
    """A turn that a search found. `score` is BM25's, larger is better; `marked` its text with
    every word that was found between two marks (`search.MARK`).
    """

    turn: Turn
    score: float
    marked: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**self.turn.to_dict(), "score": round(self.score, 3)}
