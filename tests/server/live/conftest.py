"""A server of two scripted sessions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from edge_audiokv.server.limits import Limits
from tests.server.house import Running
from tests.server.scripted import ScriptedEngine


@pytest.fixture
def other() -> ScriptedEngine:
    """The second session; `engine` is the first."""
    return ScriptedEngine()


@pytest.fixture
def running(engine, other, tmp_path) -> Iterator[Running]:
    made = Running(engine, tmp_path, Limits(queue=1), more=[other])
    made.start()
    yield made
    for each in (engine, other):
        each.go.set()
    made.end()
    assert made.worker.taken == made.worker.n_live == 0
