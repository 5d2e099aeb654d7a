"""Places in a room: who is let in, and how many fit. No model is loaded."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from edge_audiokv.engine.room import Place, Room
from edge_audiokv.engine.session import Session
from edge_audiokv.engine.session_settings import SessionSettings
from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.errors import InputError, MemoryBudgetError


class Part:
    """A cache, a detector or a recording that counts what is done to it."""

    def __init__(self) -> None:
        self.cleared = self.closed = 0

    def clear(self) -> None:
        self.cleared += 1

    reset = forget = clear

    def close(self) -> None:
        self.closed += 1


class Furnished(Room):
    """Places that need no model; loaded without one."""

    def _load(self) -> None:
        parts: Any = Part()
        self._places = [
            Place(parts, SimpleNamespace(scratch=parts, memory=parts, close=parts.close), parts)
            for _ in range(self.n_places)
        ]
        self._free = self._places[::-1]


def room(n_places: int, mem: str = "700MB", kind: type[Room] = Room) -> Room:
    return kind(EngineSettings(mem=mem), SessionSettings(), n_places, beside_bytes=10_000_000)


@pytest.mark.parametrize(
    ("required_mb", "fit"), [(701, "7"), (771, "7"), (772, "6"), (1100, "2"), (1270, "none")]
)
def test_a_refusal_says_how_many_fit(required_mb: int, fit: str) -> None:
    needs: Any = SimpleNamespace(session_bytes=60_000_000)
    with (
        pytest.raises(MemoryBudgetError) as told,
        room(8)._telling_how_many_fit(needs),
    ):
        raise MemoryBudgetError("too small.", cure="?", required_bytes=required_mb * 1_000_000)
    assert (
        told.value.cure
        == f'Use mem="{required_mb}MB" or more for 8 sessions; this one holds {fit}.'
    )
    assert told.value.required_bytes == required_mb * 1_000_000


def test_one_session_is_refused_as_ever() -> None:
    needs: Any = SimpleNamespace(session_bytes=60_000_000)
    error = MemoryBudgetError("too small.", cure="more.", required_bytes=1)
    with pytest.raises(MemoryBudgetError) as told, room(1)._telling_how_many_fit(needs):
        raise error
    assert told.value is error


def test_each_has_a_place_and_the_next_finds_it_empty() -> None:
    made = room(2, kind=Furnished)
    first, second = made.enter(), made.enter()
    assert first is not second
    with pytest.raises(RuntimeError, match="2 places"):
        made.enter()
    made.leave(first)
    assert first.detector.cleared  # type: ignore[attr-defined]
    assert made.enter() is first
    made.close()
    made.leave(second)  # of a room that is closed: nothing
    assert second.caches.scratch.closed == 2 * 3  # type: ignore[attr-defined]


def test_what_no_room_can_be() -> None:
    with pytest.raises(InputError, match="0 places"):
        room(0)
    with pytest.raises(InputError, match="archive"):
        Room(EngineSettings(), SessionSettings(archive="talks.archive"), 2)


def test_sessions_of_a_room_have_its_settings() -> None:
    made = room(2, "1GB")
    session = Session(room=made)
    assert session.engine.mem == "1GB" and session.runtime is made.runtime
    with pytest.raises(TypeError, match="room's settings"):
        Session(room=made, mem="2GB")
    session.close()  # before anything was loaded: nothing
