"""The real default model, and stock llama.cpp contexts to compare with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_audiokv.models.catalog import resolve
from edge_audiokv.models.download import ensure
from edge_audiokv.native.model import Model

from .stock import f32_copy


@pytest.fixture(scope="session")
def gguf() -> Path:
    """SmolLM2-135M-Instruct Q4_1, fetched once into the cache."""
    return ensure(resolve()).gguf_path


@pytest.fixture(scope="session")
def model(gguf: Path) -> Iterator[Model]:
    with Model(gguf) as loaded:
        yield loaded


@pytest.fixture(scope="session")
def gguf_f32(gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("f32") / "model-f32.gguf"
    f32_copy(gguf, path)
    return path


# Half a gigabyte, which would count as the interpreter to tests of caps in the same process.
@pytest.fixture(scope="module")
def model_f32(gguf_f32: Path) -> Iterator[Model]:
    """The same weights as f32: nothing is quantised on the way, so small differences stay small."""
    with Model(gguf_f32) as loaded:
        yield loaded


@pytest.fixture(scope="session")
def tokens(model: Model) -> NDArray[np.int32]:
    """A few hundred tokens of ordinary text."""
    text = " ".join(
        f"On day {day} the ship {verb} {place}, and the log says: wind {day % 9}, {sky}."
        for day, (verb, place, sky) in enumerate(
            (v, p, s)
            for v in ("left", "passed", "reached", "sighted")
            for p in ("Lisbon", "the Azores", "a reef", "Cape Town", "an unknown island")
            for s in ("clear", "rain", "fog that would not lift")
        )
    )
    return np.array(model.tokenize(text), np.int32)
