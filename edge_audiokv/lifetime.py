"""The life of what is heavy: made cheaply, loaded once, closed as often as anyone likes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self


class Loadable(ABC):
    """`with thing: ...` loads it and closes it, also after an error."""

    @abstractmethod
    def load(self) -> Self:
        """Do the work that the constructor put off. Loading twice does nothing."""

    @abstractmethod
    def close(self) -> None:
        """Give everything back. Closing twice does nothing."""

    def __enter__(self) -> Self:
        return self.load()

    def __exit__(self, *_: object) -> None:
        self.close()
