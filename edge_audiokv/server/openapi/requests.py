"""Bodies of requests. A known field that cannot be honoured has only the values that are let pass.

Other fields are let be. What JSON Schema cannot say without a maze stands in words.
"""

from __future__ import annotations

from typing import Any

from edge_audiokv.server.chat_request import MAX_STOP_CHARS, MAX_STOPS, ONLY
from edge_audiokv.server.limits import MAX_MESSAGES
from edge_audiokv.server.names import CHATTERS, TRANSCRIBERS
from edge_audiokv.server.transcriptions import FORMATS, GRANULARITIES, REFUSED

Schema = dict[str, Any]
# Lists come as `name[]`, or as `name`.
_LISTS = ("include", "keywords", "known_speaker_names", "known_speaker_references")
_FLAG = {"type": ["boolean", "null"]}
_TEXT = {"type": "string"}
_BASE64 = r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})$"


def transcription(name: str, languages: tuple[str, ...]) -> Schema:
    """The form of a transcription by the model `name`."""
    known = ", ".join(languages) or "the model's own"
    properties: Schema = {
        "file": {
            "contentMediaType": "application/octet-stream",
            "description": "Sound: WAV, FLAC, Ogg, Opus, MP3 or AIFF, and more where PyAV is "
            "installed. Its name and type are not looked at.",
        },
        "model": {"enum": [name, *TRANSCRIBERS]},
        "response_format": {"enum": ["", *FORMATS], "default": "json"},
        "timestamp_granularities[]": {
            "type": "array",
            "items": {"enum": list(GRANULARITIES)},
            "description": "Only with verbose_json.",
        },
        "stream": {
            "enum": ["", "true", "false", "1", "0"],
            "default": "false",
            "description": "Events instead of a document, each stretch of speech as soon as it is "
            "final; only with json or text.",
        },
        "language": {**_TEXT, "description": f"What is spoken ({known}), as a code or a name."},
        "languages[]": {"type": "array", "items": _TEXT, "description": "The same."},
        "temperature": {"enum": ["", "0"], "description": "The likeliest text is written."},
        "chunking_strategy": {
            "enum": ["", "auto"],
            "description": "How speech is cut is the server's.",
        },
    }
    for field, why in REFUSED.items():
        if field in _LISTS:
            properties[f"{field}[]"] = {"type": "array", "maxItems": 0, "description": why}
        else:
            properties[field] = {"const": "", "description": why}
    return {"type": "object", "required": ["file", "model"], "properties": properties}


def question(name: str) -> Schema:
    """A chat as it is usually asked; of a file of no sound at all."""
    sound = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
    parts = [sound, {"type": "text", "text": "What was said?"}]
    return {"model": name, "messages": [{"role": "user", "content": parts}]}


def chat(name: str) -> Schema:
    """The body of a chat with the model `name`."""
    whole = {"type": ["integer", "null"], "minimum": 1}
    stop = {"type": "string", "minLength": 1, "maxLength": MAX_STOP_CHARS}
    properties: Schema = {
        "model": {"enum": [name, *CHATTERS]},
        "messages": {
            "type": "array",
            "minItems": 1,
            "maxItems": MAX_MESSAGES,
            "items": {"oneOf": [_user(), _instructions(), _assistant()]},
            "description": "The last one is the user's, and there is sound in at least one. The "
            "question is the last user's text; without one the answer is what is said.",
        },
        "max_tokens": whole,
        "max_completion_tokens": whole,
        "stop": {"oneOf": [stop, {"type": "array", "items": stop, "maxItems": MAX_STOPS}, _null()]},
        "stream": _FLAG,
        "stream_options": {
            "type": ["object", "null"],
            "properties": {
                "include_usage": _FLAG,
                "include_obfuscation": {"enum": [False, None]},
            },
            "description": "Only with stream.",
        },
    }
    for field, (allowed, why) in ONLY.items():
        properties[field] = {"enum": [*allowed, None], "description": why}
    return {"type": "object", "required": ["model", "messages"], "properties": properties}


def _null() -> Schema:
    return {"type": "null"}


def _message(role: Schema, content: Schema, *, required: bool) -> Schema:
    return {
        "type": "object",
        "required": ["role", "content"] if required else ["role"],
        "properties": {"role": role, "content": content},
    }


def _user() -> Schema:
    parts = {"type": "array", "items": {"oneOf": [_text(), _sound(), _url()]}}
    return _message({"const": "user"}, {"oneOf": [_TEXT, parts]}, required=True)


def _instructions() -> Schema:
    return _message({"enum": ["system", "developer"]}, {"enum": ["", [], None]}, required=False)


def _assistant() -> Schema:
    """What was answered before is not looked at."""
    return _message({"const": "assistant"}, {}, required=False)


def _part(kind: str, content: Schema) -> Schema:
    return {
        "type": "object",
        "required": ["type", kind],
        "properties": {"type": {"const": kind}, kind: content},
    }


def _text() -> Schema:
    return _part("text", _TEXT)


def _sound() -> Schema:
    inner = {
        "type": "object",
        "required": ["data", "format"],
        "properties": {
            "data": {"type": "string", "contentEncoding": "base64", "pattern": _BASE64},
            "format": {**_TEXT, "description": "Not looked at."},
        },
    }
    return _part("input_audio", inner)


def _url() -> Schema:
    inner = {
        "type": "object",
        "required": ["url"],
        "properties": {
            "url": {
                "type": "string",
                "pattern": r"^data:audio/wav;base64," + _BASE64.removeprefix("^"),
                "description": "A data: URL of any type of sound; no address is fetched.",
            }
        },
    }
    return _part("audio_url", inner)
