"""Documents that come back, and how a request is refused."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]
_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "number", "minimum": 0}
_WHOLE: Schema = {"type": "integer", "minimum": 0}


def closed(optional: tuple[str, ...] = (), /, **properties: Schema) -> Schema:
    """An object of exactly these fields, all but the `optional` ones always there."""
    return {
        "type": "object",
        "required": [name for name in properties if name not in optional],
        "properties": properties,
        "additionalProperties": False,
    }


def listed(items: Schema) -> Schema:
    return {"type": "array", "items": items}


_TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
_WARNINGS = listed(_TEXT)
_DURATION = closed(type={"const": "duration"}, seconds=_NUMBER)

ERROR = closed(
    error=closed(message=_TEXT, type=_TEXT, param=_TEXT_OR_NULL, code=_TEXT_OR_NULL),
)
STATUS = closed(status={"const": "ok"})
MODEL = closed(id=_TEXT, object={"const": "model"}, created=_WHOLE, owned_by=_TEXT)
MODELS = closed(object={"const": "list"}, data=listed(MODEL))

TRANSCRIPTION = closed(("warnings",), text=_TEXT, usage=_DURATION, warnings=_WARNINGS)
_SEGMENT = closed(
    id=_WHOLE,
    seek=_WHOLE,
    start=_NUMBER,
    end=_NUMBER,
    text=_TEXT,
    tokens={"type": "array", "maxItems": 0},
    temperature={"const": 0},
    avg_logprob={"type": "number", "maximum": 0},
    compression_ratio=_NUMBER,
    no_speech_prob={"const": 0},
)
_WORD = closed(word=_TEXT, start=_NUMBER, end=_NUMBER)
VERBOSE = closed(
    ("segments", "words", "warnings"),
    task={"const": "transcribe"},
    language=_TEXT,
    duration=_NUMBER,
    text=_TEXT,
    segments=listed(_SEGMENT),
    words=listed(_WORD),
    usage=_DURATION,
    warnings=_WARNINGS,
)

_MESSAGE = closed(role={"const": "assistant"}, content=_TEXT, refusal={"type": "null"})
_CHOICE = closed(
    index={"const": 0},
    message=_MESSAGE,
    logprobs={"type": "null"},
    finish_reason={"enum": ["stop", "length"]},
)
COMPLETION = closed(
    id=_TEXT,
    object={"const": "chat.completion"},
    created=_WHOLE,
    model=_TEXT,
    choices={"type": "array", "items": _CHOICE, "minItems": 1, "maxItems": 1},
    usage=closed(prompt_tokens=_WHOLE, completion_tokens=_WHOLE, total_tokens=_WHOLE),
)

_ROWS = listed(listed(_WHOLE))
MEMORY = closed(
    model=_TEXT,
    time_s=_NUMBER,
    cap_bytes=_WHOLE,
    rss_bytes=_WHOLE,
    parts={"type": "object", "additionalProperties": {"type": "integer"}},
    heads={
        "oneOf": [
            closed(audio=_ROWS, text=_ROWS, other=_ROWS, capacity=_ROWS),
            {"type": "null"},
        ]
    },
    sessions=listed(closed(at={"enum": ["live", "job", ""]}, time_s=_NUMBER, rows=_WHOLE)),
    jobs=_WHOLE,
    fault=_TEXT,
)
