"""POST /v1/audio/transcriptions: a file to text, in one piece or as it is written."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from starlette.responses import Response

from edge_audiokv.engine.finals.language import NAMES, language_code
from edge_audiokv.events import Final, Warned
from edge_audiokv.output.text import one_line
from edge_audiokv.server import render
from edge_audiokv.server.engine import Engine, known_language
from edge_audiokv.server.faults import json_response, refused
from edge_audiokv.server.jobs import Heard, Item, Job, Steps
from edge_audiokv.server.names import TRANSCRIBERS, check_model

Fields = dict[str, list[str]]
FORMATS = ("json", "text", "srt", "verbose_json", "vtt")
GRANULARITIES = ("segment", "word")
# Known, and nothing here could honour them.
REFUSED = {
    "prompt": "this model takes no text beside the sound.",
    "keywords": "this model takes no words to look out for.",
    "include": "log probabilities are not told.",
    "known_speaker_names": "speakers are not told apart.",
    "known_speaker_references": "speakers are not told apart.",
}


@dataclass(frozen=True)
class Wanted:
    """What a request asks for."""

    format: str
    granularities: tuple[str, ...]
    language: str
    stream: bool


def read_fields(fields: Fields, engine: Engine) -> Wanted:
    """Raises ApiError that names the field which cannot be honoured.

    A list is `name[]`, or `name`; an empty text is none. Unknown fields are let be.
    """
    given: Fields = {}
    for name, values in fields.items():
        given.setdefault(name.removesuffix("[]"), []).extend(value for value in values if value)
    for name, why in REFUSED.items():
        if given.get(name):
            raise refused(name, why)
    check_model(_one(given, "model"), engine.name, TRANSCRIBERS)
    _check_cutting(given)
    format = _one(given, "response_format") or "json"
    if format not in FORMATS:
        raise refused("response_format", f"use one of {', '.join(FORMATS)}.")
    temperature = _one(given, "temperature") or "0"
    if _number(temperature) != 0:
        raise refused("temperature", "the likeliest text is written; only 0 can be asked for.")
    stream = _flag(given, "stream")
    if stream and format not in ("json", "text"):
        raise refused("response_format", "a stream is of text; use json.")
    granularities = tuple(given.get("timestamp_granularities", ()))
    if any(name not in GRANULARITIES for name in granularities):
        raise refused("timestamp_granularities", "use word and segment.")
    if granularities and format != "verbose_json":
        raise refused("timestamp_granularities", "only verbose_json tells times.")
    return Wanted(format, granularities or ("segment",), _language(given, engine), stream)


def _language(given: Fields, engine: Engine) -> str:
    """The language that is spoken, in lower-case English as clients expect it."""
    for name in ("language", "languages"):
        for language in given.get(name, ()):
            if why := known_language(engine, language):
                raise refused(name, why)
    asked = (_one(given, "language"), *given.get("languages", ()), *engine.languages[:1])
    code = next((language_code(text) for text in asked if text), "")
    return NAMES.get(code, code or "unknown").lower()


def _check_cutting(given: Fields) -> None:
    if any(name.startswith("chunking_strategy[") for name in given):
        raise refused("chunking_strategy", "how speech is cut is the server's; use auto.")
    if _one(given, "chunking_strategy") not in ("", "auto"):
        raise refused("chunking_strategy", "how speech is cut is the server's; use auto.")


def _one(given: Fields, name: str) -> str:
    values = given.get(name, [])
    if len(values) > 1:
        raise refused(name, "give it once.", code="invalid_value")
    return values[0] if values else ""


def _flag(given: Fields, name: str) -> bool:
    text = _one(given, name).lower()
    if text not in ("", "true", "false", "1", "0"):
        raise refused(name, "use true or false.", code="invalid_value")
    return text in ("true", "1")


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def steps(file: BinaryIO) -> Steps:
    """The job: hear the file."""

    def work(engine: Engine, job: Job) -> Iterator[Item | None]:
        yield from engine.hear(file, lambda: job.check(engine.heard_s))
        yield Heard(engine.heard_s)

    return work


async def whole(items: AsyncIterator[Item], wanted: Wanted) -> Response:
    """The answer, once all is heard. Raises ApiError."""
    finals: list[Final] = []
    warnings: list[str] = []
    duration_s = 0.0
    async for item in items:
        if isinstance(item, Final):
            finals.append(item)
        elif isinstance(item, Warned):
            warnings.append(item.message)
        elif isinstance(item, Heard):
            duration_s = item.duration_s
    return _answer(finals, duration_s, warnings, wanted)


def _answer(
    finals: Sequence[Final], duration_s: float, warnings: Sequence[str], wanted: Wanted
) -> Response:
    if wanted.format == "json":
        return json_response(render.document(finals, duration_s, warnings))
    if wanted.format == "verbose_json":
        return json_response(
            render.verbose(
                finals,
                duration_s,
                warnings,
                language=wanted.language,
                granularities=wanted.granularities,
            )
        )
    if wanted.format == "text":
        return Response(render.plain_text(finals), media_type="text/plain")
    kind = "text/vtt" if wanted.format == "vtt" else "application/x-subrip"
    return Response(render.subtitles(finals, wanted.format), media_type=kind)


async def deltas(items: AsyncIterator[Item]) -> AsyncGenerator[object]:
    """Events of a stream. A stretch of speech is told when its text is final: none is taken back,
    and together they are the whole text.
    """
    text = ""
    async for item in items:
        if isinstance(item, Final) and (said := one_line(item.text)):
            delta = f" {said}" if text else said
            text += delta
            yield {"type": "transcript.text.delta", "delta": delta}
    yield {"type": "transcript.text.done", "text": text}
