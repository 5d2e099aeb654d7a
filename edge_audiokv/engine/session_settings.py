"""How a session listens, and the keyword short cuts that make its settings."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypedDict

from edge_audiokv.audio.endpoint import EndpointConfig
from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.errors import InputError
from edge_audiokv.kv.placements import DEFAULT_PLACEMENT, check_placement


@dataclass(frozen=True)
class SessionSettings:
    """How a session listens, beside the engine's settings.

    context             "fresh" decodes each segment on its own; "rolling" with all before in view.
                        Both remember everything for questions.
    partial_interval_s  new sound before the open segment is decoded again; 0 for no partials
    wake_word           a segment that begins with this word is a question
    report_interval_s   time between memory reports; 0 for none
    endpoint            how speech is cut
    placement           what becomes of old time when positions run out: "order", "log" or "drop"
                        (edge_audiokv/kv/placement.py)
    recall              a question brings back turns that share its words from all that was said,
                        also what the cache has lost; without `archive` memory keeps it
    archive             a file that keeps every final text with its times (edge_audiokv.archive), or
                        none; it is made if it is not there, for its owner alone
    """

    context: str = "fresh"
    partial_interval_s: float = 1.0
    wake_word: str = ""
    report_interval_s: float = 10.0
    endpoint: EndpointConfig = field(default_factory=lambda: EndpointConfig(max_segment_s=15.0))
    archive: str | os.PathLike[str] | None = None
    placement: str = DEFAULT_PLACEMENT
    recall: bool = True

    def __post_init__(self) -> None:
        if self.context not in ("fresh", "rolling"):
            raise InputError(f"There is no context {self.context!r}.", cure="Use fresh or rolling.")
        for name in ("partial_interval_s", "report_interval_s"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not value >= 0:
                raise InputError(f"{name} is {value!r}.", cure="Use 0 or more seconds.")
        if not isinstance(self.wake_word, str):
            raise InputError(f"wake_word is {self.wake_word!r}.", cure="Write a word, or none: ''.")
        if not isinstance(self.endpoint, EndpointConfig):
            raise InputError(f"endpoint is {self.endpoint!r}.", cure="Give an EndpointConfig.")
        if self.archive is not None and not isinstance(self.archive, str | os.PathLike):
            raise InputError(f"archive is {self.archive!r}.", cure="Name a file, or None.")
        check_placement(self.placement)
        if not isinstance(self.recall, bool):
            raise InputError(f"recall is {self.recall!r}.", cure="Use True or False.")


class EngineOptions(TypedDict, total=False):
    """Fields of EngineSettings as keywords."""

    model: str
    mem: str | int
    kv_policy: str
    kv_share: float | str
    kv_options: Mapping[str, Any]
    type_k: str
    type_v: str
    word_weight: float | str | None
    branches: int | str
    threads: int | str | None
    provider: str
    compute: str | None
    gpu_layers: int | str | None
    gpu_mem: str | int | None
    kv_device: str
    language: str | None
    translate: str | None
    hotwords: str | Sequence[str]
    word_timestamps: bool
    plain_text: bool


class SessionOptions(EngineOptions, total=False):
    """Fields of EngineSettings and SessionSettings as keywords of Session."""

    context: str
    partial_interval_s: float
    wake_word: str
    report_interval_s: float
    endpoint: EndpointConfig
    archive: str | os.PathLike[str] | None
    placement: str
    recall: bool


def with_options(
    engine: EngineSettings | None, settings: SessionSettings | None, options: Mapping[str, Any]
) -> tuple[EngineSettings, SessionSettings]:
    """Both records with `options` put in. Raises TypeError for a name that neither has."""
    engine, settings = engine or EngineSettings(), settings or SessionSettings()
    ours = {item.name for item in fields(settings)}
    theirs = {item.name for item in fields(engine)}
    check_names("Session", options, ours | theirs)
    return (
        replace(engine, **{name: value for name, value in options.items() if name in theirs}),
        replace(settings, **{name: value for name, value in options.items() if name in ours}),
    )


def check_names(owner: str, options: Mapping[str, Any], known: set[str]) -> None:
    """TypeError that names what there is, if `options` has a name that is not `known`."""
    unknown = sorted(set(options) - known)
    if unknown:
        there_are = ", ".join(sorted(known))
        raise TypeError(f"{owner} has no option {', '.join(unknown)}; there are: {there_are}")
