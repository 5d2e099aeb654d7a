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
    """asyncio and uvicorn log what a protocol or task raises; nobody else would tell."""
    yield
    loud = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert not [
        record.getMessage() for record in loud if record.name in ("asyncio", "uvicorn.error")
    ]
