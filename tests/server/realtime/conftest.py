"""Servers of a scripted engine on ports of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.server.house import Running, starting
from tests.server.realtime.talk import Dialect


@pytest.fixture
def start(engine, tmp_path) -> Iterator[Callable[..., Running]]:
    yield from starting(Running, engine, tmp_path)


@pytest.fixture
def dialect(engine) -> Dialect:
    return Dialect(engine)
