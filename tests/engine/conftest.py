"""A real session of the default model, loaded once, that every test gets with an empty memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from edge_audiokv.audio.endpoint import EndpointConfig
from edge_audiokv.engine.session import Session
from edge_audiokv.engine.session_settings import SessionSettings

DATA = Path(__file__).parents[1] / "data"


@dataclass(frozen=True)
class Speech:
    """A clip of tests/data, float32 [S] at 16 kHz, and what is said in it."""

    path: Path
    samples: np.ndarray
    words: frozenset[str]

    def share_heard(self, text: str) -> float:
        """Share of the different words that are in `text`."""
        return len(self.words & words_of(text)) / len(self.words)


def words_of(text: str) -> frozenset[str]:
    return frozenset(text.lower().replace(".", "").replace(",", "").split())


@pytest.fixture(scope="session")
def clips() -> dict[str, Speech]:
    rows = [json.loads(line) for line in (DATA / "manifest.jsonl").read_text().splitlines()]
    return {
        row["id"]: Speech(
            DATA / row["path"],
            soundfile.read(str(DATA / row["path"]), dtype="float32")[0],
            words_of(row["text"]),
        )
        for row in rows
    }


@pytest.fixture(scope="module")
def loaded_session() -> Iterator[Session]:
    endpoint = EndpointConfig(max_segment_s=8.0)
    with Session(threads=1, mem="4GB", report_interval_s=0.0, endpoint=endpoint) as session:
        yield session


@pytest.fixture
def renew(loaded_session: Session) -> Iterator[Callable[..., Session]]:
    """The loaded session with nothing heard yet, and with other listening settings if given."""
    before = loaded_session.settings

    def make(**changes: Any) -> Session:
        session = loaded_session
        session.settings = SessionSettings(
            **{"report_interval_s": 0.0, "endpoint": before.endpoint, **changes}
        )
        session.forget()
        return session

    yield make
    loaded_session.settings = before
    loaded_session.on_event = loaded_session.on_partial = loaded_session.on_final = None


@pytest.fixture
def session(renew: Callable[..., Session]) -> Session:
    return renew()
