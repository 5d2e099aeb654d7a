"""One thing that was looked at in a converted model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edge_audiokv.errors import EdgeAudioKVError

OK, FAILED, TOLD, LEFT_OUT = "ok", "FAILED", "told", "left out"


@dataclass(frozen=True)
class Finding:
    """`verdict` is ok or FAILED, told where nothing is demanded, left out where nothing was looked
    at. `value` and `bound` are numbers, where there are such.
    """

    name: str
    verdict: str
    what: str
    value: float | None = None
    bound: float | None = None

    @property
    def has_failed(self) -> bool:
        return self.verdict == FAILED

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return dict(vars(self))


def at_most(name: str, value: float, bound: float, what: str) -> Finding:
    """A value that must not be above `bound`; what is no number is."""
    return Finding(name, OK if value <= bound else FAILED, what, value, bound)


def at_least(name: str, value: float, bound: float, what: str) -> Finding:
    """A value that must not be below `bound`; what is no number is."""
    return Finding(name, OK if value >= bound else FAILED, what, value, bound)


def looked(name: str, look: Callable[[], str]) -> Finding:
    """What `look` says is well; an error of ours that it raises is the fault."""
    try:
        return Finding(name, OK, look())
    except EdgeAudioKVError as error:
        return Finding(name, FAILED, str(error))


def left_out(name: str, why: str) -> Finding:
    """What was not looked at."""
    return Finding(name, LEFT_OUT, why)
