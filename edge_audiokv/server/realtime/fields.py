"""Reading events strictly: a field that is not known, or cannot be honoured, is refused by name."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from edge_audiokv.server.chat_request import same
from edge_audiokv.server.faults import ApiError, refused
from edge_audiokv.server.limits import MAX_EVENT_VALUES


class Fields:
    """An object of an event, at `where`; names that nobody asks for are refused by `end`."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise wrong(where, "an object.")
        self._left: dict[str, Any] = dict(value)
        self._where = where

    def at(self, name: str) -> str:
        return f"{self._where}.{name}" if self._where else name

    def has(self, name: str) -> bool:
        return name in self._left

    def take(self, name: str) -> Any:
        """Its value; None if it is not there."""
        return self._left.pop(name, None)

    def text(self, name: str) -> str:
        """A text; empty if there is none."""
        value = self.take(name)
        if value is not None and not isinstance(value, str):
            raise wrong(self.at(name), "a text.")
        return value or ""

    def inner(self, name: str) -> Fields:
        return Fields(self.take(name), self.at(name))

    def number(self, name: str) -> float | None:
        value = self.take(name)
        if value is not None and (not isinstance(value, int | float) or isinstance(value, bool)):
            raise wrong(self.at(name), "a number.")
        return value

    def whole(self, name: str) -> int | None:
        value = self.number(name)
        if value is not None and not isinstance(value, int):
            raise wrong(self.at(name), "a whole number.")
        return value

    def only(self, name: str, allowed: Iterable[object], why: str) -> None:
        """What asks for nothing else than what is done anyway is let pass; null always is."""
        value = self.take(name)
        if value is not None and not any(same(value, one) for one in allowed):
            raise refused(self.at(name), why)

    def end(self) -> None:
        for name in self._left:
            shown = self.at(name)[:80]
            raise ApiError(400, f"{shown}: not known here.", param=shown, code="unknown_parameter")


def wrong(where: str, what: str) -> ApiError:
    return ApiError(400, f"{where}: {what}", param=where, code="invalid_value")


def event_of(text: str) -> dict[str, Any]:
    """The object in `text`. Raises ApiError for what is none, and for a heap of values, which take
    many times the room of their text.
    """
    if sum(text.count(mark) for mark in "[{,") > MAX_EVENT_VALUES:
        raise _no_event("it has too many values")
    try:
        document = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise _no_event("it is not JSON") from None
    if not isinstance(document, dict):
        raise _no_event("it is no object")
    return document


def _no_event(why: str) -> ApiError:
    return ApiError(400, f"this is no event: {why}.", code="invalid_event")


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
