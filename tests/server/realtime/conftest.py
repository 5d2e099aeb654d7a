"""Servers of a scripted engine on ports of their own."""

from __future__ import annotations

import logging
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


@pytest.fixture(autouse=True)
def nothing_is_unforeseen(caplog) -> Iterator[None]:
    """What a protocol or a task raises is logged; nobody else would tell."""
    yield
    told = [it for it in caplog.records if it.name in ("asyncio", "edge_audiokv.websocket")]
    assert not [it.getMessage() for it in told if it.levelno >= logging.ERROR]
