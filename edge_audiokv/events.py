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
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar, Self


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
        """A JSON-ready dict; seconds and what is reckoned are rounded to three digits."""
        return {"type": self.wire_name(), **_rounded(asdict(self))}

    def at(self, time_s: float) -> Self:
        """The same on another clock: a source counts from its own start, a session from its."""
        changes: dict[str, Any] = {
            item.name: time_s for item in fields(self) if item.name == "time_s"
        }
        return replace(self, **changes)

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), ensure_ascii=False)


def _rounded(data: dict[str, Any]) -> dict[str, Any]:
    for name, value in data.items():
        if isinstance(value, float) and (name.endswith("_s") or name in ("confidence", "evidence")):
            data[name] = round(value, 3)
    return data


def from_json(line: str) -> Event:
    """The event in `line`. Unknown fields are ignored.

    Raises ValueError for an unknown type, and for what is no event.
    """
    try:
        data = json.loads(line)
        name = data.pop("type")
        if name not in Event.registry:
            known = ", ".join(sorted(Event.registry))
            raise ValueError(f"unknown event type {name!r}; known: {known}")
        cls = Event.registry[name]
        own = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in data.items() if name in own})
    except (AttributeError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"this is no event: {error}") from None


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
class Word:
    """A spoken word, as it is written; `confidence` in [0, 1]."""

    text: str
    start_s: float
    end_s: float
    confidence: float = 1.0

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Word:
        """Unknown fields are ignored; KeyError if one is missing."""
        return cls(data["text"], data["start_s"], data["end_s"], data.get("confidence", 1.0))


# The flag of a final that no words were made out in: a laugh, a cough, speech far away.
NO_WORDS = "no-words"


@dataclass(frozen=True)
class Final(Event):
    """`flags` names what the guards saw and did: "loop" and "runaway" cut the text, "jump" says
    that it does not follow the sound, "retried" that another try was better, "cut" that it was not.
    "no-words" says that no words were made out; the text is empty.

    With word times asked for, `words` are those of `text` in order, none overlapping, inside the
    segment, and `confidence` in [0, 1] is how far the sound bears the text out, letter for letter.
    Otherwise they are empty and None, and do not go on the wire.
    """

    id: int
    start_s: float
    end_s: float
    text: str
    flags: tuple[str, ...] = ()
    words: tuple[Word, ...] = ()
    confidence: float | None = None

    def __post_init__(self) -> None:
        given: Iterable[Word | Mapping[str, Any]] = self.words
        words = (w if isinstance(w, Word) else Word.from_dict(w) for w in given)
        object.__setattr__(self, "flags", tuple(self.flags))
        object.__setattr__(self, "words", tuple(words))

    def to_dict(self) -> dict[str, Any]:
        data = super().to_dict()
        data["words"] = [_rounded(word) for word in data["words"]]
        if self.confidence is None:
            del data["words"], data["confidence"]
        return data

    def moved(self, id: int, offset_s: float) -> Final:
        """The same on a clock that was started `offset_s` earlier, under another id."""
        words = tuple(
            replace(word, start_s=word.start_s + offset_s, end_s=word.end_s + offset_s)
            for word in self.words
        )
        start_s, end_s = self.start_s + offset_s, self.end_s + offset_s
        return replace(self, id=id, start_s=start_s, end_s=end_s, words=words)


@dataclass(frozen=True)
class Source:
    """A turn that was brought back for a question: its text, when it was said, and whether its
    positions were still in the cache (how many of its rows each head kept is another matter).
    """

    start_s: float
    end_s: float
    text: str
    in_cache: bool = False

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Source:
        """Unknown fields are ignored; KeyError if one is missing."""
        return cls(data["start_s"], data["end_s"], data["text"], data.get("in_cache", False))


@dataclass(frozen=True)
class Answer(Event):
    """`heard` is false if there was nothing yet to answer from: no model was asked then.

    `sources` are turns with words of the question, in the order in which they were said; what the
    cache remembers beside them is not listed. `evidence` is how far the answer rests on what was
    heard, in nats a token (engine/recall/evidence.py), and `confidence` in [0, 1] how sure the
    model is of it; None where it was not weighed. Where either is too little the model's answer is
    withheld: `declined`, and the text says that it was not heard.
    """

    question: str
    text: str
    time_s: float
    heard: bool = True
    sources: tuple[Source, ...] = ()
    evidence: float | None = None
    confidence: float | None = None
    declined: bool = False

    def __post_init__(self) -> None:
        given: Iterable[Source | Mapping[str, Any]] = self.sources
        sources = (s if isinstance(s, Source) else Source.from_dict(s) for s in given)
        object.__setattr__(self, "sources", tuple(sources))

    def to_dict(self) -> dict[str, Any]:
        data = super().to_dict()
        data["sources"] = [_rounded(source) for source in data["sources"]]
        return data


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
    """`segments` is how many finals had words."""

    time_s: float
    segments: int
    reason: str
