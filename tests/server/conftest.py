"""Servers of a scripted engine; see `scripted.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_audiokv.server.guard import Guard
from edge_audiokv.server.limits import Limits
from tests.server.scripted import ScriptedEngine, Server


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def make_server(engine: ScriptedEngine, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """A server with limits and a guard of one's own; nothing of it is left in the end."""
    made: list[Server] = []

    def make(guard: Guard | None = None, *, page: bool = False, **limits: Any) -> Server:
        made.append(Server(engine, tmp_path, Limits(**limits), guard or Guard(), page=page))
        return made[-1]

    yield make
    engine.go.set()
    for server in made:
        server.worker.close()
        assert server.worker.taken == 0
    assert not list(tmp_path.iterdir())
    assert all(file.closed for file in engine.files)


@pytest.fixture
def server(make_server: Callable[..., Server]) -> Server:
    return make_server()
