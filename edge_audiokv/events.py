"""What a session tells its listener: small frozen dataclasses with one JSON codec.

Guarantees, for all that one `listen` tells:
- `SpeechStarted` once a segment, then any number of `Partial`, then exactly one `Final`, all with
  the same id; ids rise; one segment is open at a time; nothing changes after its `Final`.
- A segment starts no earlier than the one before it ended; `end_s` of its partials never decreases,
  and neither does `time_s` from one event to the next.
- `stable` of a `Partial` begins its `text`. `SessionEnded` is last, and comes once.
Times are seconds since the session's first sample.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar


@dataclass(frozen=True)
class Event:
    """Base of all events. The wire name is the class name in kebab-case."""

    registry: ClassVar[dict[str, type[Event]]] = {}

    def __init_subclass__(cls) -> None:
        cls.registry[cls.wire_name()] = cls

    @classmethod
    def wire_name(cls) -> str:
        return re.sub(r"(?<!^)(?=[A-Z])", "-", cls.__name__).lower()

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict; seconds are rounded to milliseconds."""
        data = asdict(self)
        for name, value in data.items():
            if name.endswith("_s") and isinstance(value, float):
                data[name] = round(value, 3)
        return {"type": self.wire_name(), **data}

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), ensure_ascii=False)


def from_json(line: str) -> Event:
    """The event in `line`. Unknown fields are ignored; an unknown type raises ValueError."""
    data = json.loads(line)
    try:
        cls = Event.registry[data.pop("type")]
    except KeyError as error:
        raise ValueError(f"unknown event type {error}; known: {sorted(Event.registry)}") from None
    known = {field.name for field in fields(cls)}
    return cls(**{name: value for name, value in data.items() if name in known})


@dataclass(frozen=True)
class SpeechStarted(Event):
    id: int
    start_s: float


@dataclass(frozen=True)
class Partial(Event):
    """`stable` is the prefix of `text` that is not expected to change."""

    id: int
    start_s: float
    end_s: float
    text: str
    stable: str = ""


@dataclass(frozen=True)
class Final(Event):
    """`flags` names what the guards did: "loop", "runaway", "retried", "cut"."""

    id: int
    start_s: float
    end_s: float
    text: str
    flags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "flags", tuple(self.flags))


@dataclass(frozen=True)
class Answer(Event):
    question: str
    text: str
    time_s: float


@dataclass(frozen=True)
class Evicted(Event):
    """Rows and bytes that one eviction freed."""

    time_s: float
    freed_rows: int
    freed_bytes: int
    kept_rows: int


@dataclass(frozen=True)
class MemoryReport(Event):
    """`parts` maps a part's name to its bytes; `rss_bytes` is the kernel's own figure."""

    time_s: float
    cap_bytes: int
    rss_bytes: int
    parts: dict[str, int]


@dataclass(frozen=True)
class Overflow(Event):
    """Samples that the ring had to drop because nobody read them in time."""

    time_s: float
    dropped_samples: int


@dataclass(frozen=True)
class DeviceLost(Event):
    time_s: float
    device: str


@dataclass(frozen=True)
class DeviceRestored(Event):
    time_s: float
    device: str


@dataclass(frozen=True)
class Stalled(Event):
    """No progress for `waited_s` although sound was waiting."""

    time_s: float
    waited_s: float


@dataclass(frozen=True)
class Warned(Event):
    """Something a person should know that does not end the session."""

    time_s: float
    message: str


@dataclass(frozen=True)
class SessionEnded(Event):
    time_s: float
    segments: int
    reason: str
