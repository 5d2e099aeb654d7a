"""The session object of OpenAI's Realtime interface: what a client sets, and what it is told."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from edge_audiokv.audio.endpoint import EndpointConfig
from edge_audiokv.server.engine import Engine, known_language
from edge_audiokv.server.faults import refused
from edge_audiokv.server.names import COMMITTED, LIVE_TRANSCRIBERS, check_model
from edge_audiokv.server.realtime.fields import Fields, wrong

# Formats of sound and their rates.
RATES_HZ = {"audio/pcm": 24_000, "audio/pcmu": 8_000, "audio/pcma": 8_000}


@dataclass(frozen=True)
class Settings:
    """`endpoint` is how the server finds turns; without one the client commits them."""

    id: str
    model: str
    endpoint: EndpointConfig | None
    language: str = ""
    format: str = "audio/pcm"

    @property
    def rate_hz(self) -> int:
        return RATES_HZ[self.format]

    def document(self) -> dict[str, Any]:
        """As `session.created` and `session.updated` have it."""
        format: dict[str, Any] = {"type": self.format}
        if self.format == "audio/pcm":
            format["rate"] = self.rate_hz
        return {
            "type": "transcription",
            "object": "realtime.transcription_session",
            "id": self.id,
            "audio": {
                "input": {
                    "format": format,
                    "transcription": {"model": self.model, "language": self.language or None},
                    "noise_reduction": None,
                    "turn_detection": _turns(self.endpoint),
                }
            },
            "include": None,
        }


def _turns(endpoint: EndpointConfig | None) -> dict[str, Any] | None:
    if endpoint is None:
        return None
    return {
        "type": "server_vad",
        "threshold": endpoint.threshold,
        "prefix_padding_ms": endpoint.prefix_padding_ms,
        "silence_duration_ms": endpoint.silence_duration_ms,
    }


def updated(settings: Settings, document: object, engine: Engine) -> Settings:
    """`settings` with what `session.update` brings; what it does not name stays.

    Raises ApiError that names the field which cannot be honoured.
    """
    session = Fields(document, "session")
    kind = session.text("type")
    if kind != "transcription":
        raise refused("session.type", "use transcription; response.create answers in it, too.")
    # Read-only fields that clients send back with the object that they were given.
    for name in ("id", "object", "expires_at"):
        session.take(name)
    session.only("include", ([],), "log probabilities are not told.")
    if session.has("audio"):
        audio = session.inner("audio")
        if audio.has("input"):
            settings = _input(settings, audio.inner("input"), engine)
        audio.end()
    session.end()
    return settings


def _input(settings: Settings, given: Fields, engine: Engine) -> Settings:
    given.only("noise_reduction", (), "there is none; use null.")
    if given.has("format"):
        settings = replace(settings, format=_format(given.inner("format")))
    if given.has("transcription"):
        before = settings.model
        settings = _transcription(settings, given.inner("transcription"), engine)
        if settings.model != before and settings.model in COMMITTED:
            settings = replace(settings, endpoint=None)
    if given.has("turn_detection"):
        value = given.take("turn_detection")
        where = given.at("turn_detection")
        endpoint = None if value is None else _endpoint(Fields(value, where), where, engine)
        settings = replace(settings, endpoint=endpoint)
    given.end()
    return settings


def _format(given: Fields) -> str:
    kind = given.text("type")
    if kind not in RATES_HZ:
        raise refused(given.at("type"), f"use one of {', '.join(RATES_HZ)}.")
    given.only("rate", (RATES_HZ[kind],), f"{kind} has {RATES_HZ[kind]} Hz here.")
    given.end()
    return kind


def _transcription(settings: Settings, given: Fields, engine: Engine) -> Settings:
    given.only("prompt", ("",), "this model takes no text beside the sound.")
    given.only("keywords", ([],), "this model takes no words to look out for.")
    given.only("delay", (), "text comes as soon as it is certain.")
    if given.has("model"):
        model = given.text("model")
        check_model(model, engine.name, LIVE_TRANSCRIBERS)
        settings = replace(settings, model=model)
    if given.has("languages"):
        for language in _texts(given.take("languages"), given.at("languages")):
            _check_language(language, given.at("languages"), engine)
    if given.has("language"):
        language = given.text("language")
        _check_language(language, given.at("language"), engine)
        settings = replace(settings, language=language)
    given.end()
    return settings


def _texts(value: object, where: str) -> list[str]:
    found = [] if value is None else value
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise wrong(where, "a list of texts.")
    return found


def _check_language(language: str, where: str, engine: Engine) -> None:
    if language and (why := known_language(engine, language)):
        raise refused(where, why)


def _endpoint(given: Fields, where: str, engine: Engine) -> EndpointConfig:
    kind = given.text("type")
    if kind != "server_vad":
        raise refused(given.at("type"), "use server_vad, or null to commit yourself.")
    # Nothing is answered unasked, and so nothing is interrupted.
    given.only("create_response", (False,), "answers are given to response.create alone.")
    given.take("interrupt_response")
    given.only("idle_timeout_ms", (), "nobody is prompted to speak.")
    changes: dict[str, Any] = {
        "threshold": given.number("threshold"),
        "prefix_padding_ms": given.whole("prefix_padding_ms"),
        "silence_duration_ms": given.whole("silence_duration_ms"),
    }
    given.end()
    try:
        return replace(
            engine.endpoint, **{name: value for name, value in changes.items() if value is not None}
        )
    except ValueError as error:
        raise wrong(where, f"{error}.") from None
