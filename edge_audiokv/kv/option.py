"""Options of policies: dataclass fields that carry their words and their range."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import Field, field
from typing import Any, TypeVar

from edge_audiokv.errors import PolicyError

T = TypeVar("T", bool, int, float, str)

# More rows than any cache has, and far from the end of int32.
MOST = 1 << 24
_KINDS = {bool: "true or false,", int: "a whole number", float: "a number", str: "a word"}


def option(
    default: T, words: str, *, least: float = 0, most: float = MOST, choices: tuple[str, ...] = ()
) -> T:
    """A field of a policy's dataclass: what it does in `words`, and which values it may take.

    `least` and `most` bound a number; `choices` are all values of a text, if there are few.
    """
    facts = {"words": words, "least": least, "most": most, "choices": choices}
    return field(default=default, metadata=facts)


def convert(policy: str, wanted: Field[Any], value: Any) -> Any:
    """`value` in the type of the option's default and within its range; text is parsed.

    Raises PolicyError that says what is right.
    """
    default, facts = wanted.default, wanted.metadata
    kind = type(default)
    try:
        if kind is bool and isinstance(value, str):
            return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[
                value.lower()
            ]
        if kind is int and isinstance(value, float) and not value.is_integer():
            raise ValueError
        if kind not in (bool, int, float, str):
            return value
        converted = kind(value)
        if kind in (int, float) and not _within(converted, facts):
            raise ValueError
        if facts.get("choices") and converted not in facts["choices"]:
            raise ValueError
        return converted
    except (KeyError, OverflowError, TypeError, ValueError):
        cure = f"Write {_KINDS.get(kind, 'a value')} such as {default}"
        bounds = range_of(wanted)
        raise PolicyError(
            f"Option {wanted.name} of KV policy {policy} cannot be {value!r}.",
            cure=f"{cure} ({bounds})." if bounds else f"{cure}.",
        ) from None


def range_of(wanted: Field[Any]) -> str:
    """The values that an option takes, for people; empty if nobody has said."""
    facts = wanted.metadata
    if facts.get("choices"):
        return " or ".join(facts["choices"])
    if not facts or type(wanted.default) not in (int, float):
        return ""
    if facts["most"] >= MOST:
        return f"{facts['least']:g} or more"
    return f"{facts['least']:g} to {facts['most']:g}"


def _within(number: float, facts: Mapping[str, Any]) -> bool:
    return math.isfinite(number) and facts.get("least", 0) <= number <= facts.get("most", MOST)
