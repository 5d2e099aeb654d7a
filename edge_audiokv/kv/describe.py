"""A policy in words: what it does, when to choose it, and its options.

The words stand beside the code: a module's docstring, `choose_when` of the class, and `option` of
each field.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, fields
from typing import Any

from edge_audiokv.kv.option import range_of
from edge_audiokv.kv.policy import Policy


@dataclass(frozen=True)
class Described:
    """One option. `range` is empty where a policy does not state it."""

    name: str
    words: str
    default: Any
    range: str


def description(cls: type[Policy]) -> str:
    """The whole text, without the name that it opens with."""
    module = inspect.getmodule(cls)
    text = inspect.cleandoc((module.__doc__ if module else None) or cls.__doc__ or "")
    return text.removeprefix(f"{cls.name}: ")


def summary(cls: type[Policy]) -> str:
    """The first paragraph in one line: what it does (and its paper)."""
    return " ".join(description(cls).split("\n\n")[0].split())


def options(cls: type[Policy]) -> list[Described]:
    """What `--kv-option` takes, in the order of the fields."""
    return [
        Described(item.name, item.metadata.get("words", ""), item.default, range_of(item))
        for item in fields(cls)
        if item.name != "profile"
    ]
