"""What a connection asks of the names of its events: one class a dialect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from edge_audiokv.server.faults import ApiError
from edge_audiokv.server.jobs import Item
from edge_audiokv.server.realtime.wishes import Wish

Document = dict[str, Any]


class Dialect(Protocol):
    """One client's side of the events; its methods are called on one thread.

    `subprotocol` is what a client may offer when it upgrades.
    """

    subprotocol: str

    def begin(self, query: Mapping[str, str]) -> tuple[Wish, list[Document]]:
        """How sound is cut at first, and what is told before anything else; `query` is that of the
        address. Raises ApiError.
        """

    def read(self, text: str, *, uncommitted: bool) -> tuple[Wish | None, list[Document]]:
        """What an event asks for, and what is told at once. `uncommitted` says that sound waits for
        a commit. Raises ApiError; then nothing has changed.
        """

    def committed(self) -> list[Document]:
        """The client's utterance is whole and will be heard."""

    def told(self, item: Item) -> list[Document]:
        """What the model's thread tells."""

    def refused(self, error: ApiError, *, answers: bool = True) -> Document:
        """An error, after which things go on. `answers` says that the last event is why."""
