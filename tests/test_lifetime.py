"""What is heavy is loaded by `with` and closed whatever happens inside."""

from __future__ import annotations

from typing import Self

import pytest

from edge_audiokv.lifetime import Loadable


class Heavy(Loadable):
    def __init__(self) -> None:
        self.told: list[str] = []

    def load(self) -> Self:
        self.told.append("load")
        return self

    def close(self) -> None:
        self.told.append("close")


def test_with_loads_and_closes() -> None:
    heavy = Heavy()
    assert heavy.told == []
    with heavy as inside:
        assert inside is heavy
        assert heavy.told == ["load"]
    assert heavy.told == ["load", "close"]


def test_an_error_inside_closes_and_passes_through() -> None:
    heavy = Heavy()
    with pytest.raises(KeyboardInterrupt), heavy:
        raise KeyboardInterrupt
    assert heavy.told == ["load", "close"]
