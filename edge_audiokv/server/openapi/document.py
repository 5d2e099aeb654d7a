"""GET /openapi.json: every path, with what it takes and what it tells."""

from __future__ import annotations

from typing import Any

from edge_audiokv import __version__
from edge_audiokv.server.openapi import answers, requests
from edge_audiokv.server.service import Service

PATH = "/openapi.json"
Schema = dict[str, Any]
# Of any request: what the guard and the protocol refuse, and a failure.
_ANY = {
    "400": "it cannot be read, or a field that `param` names cannot be honoured",
    "403": "this host name or this page may not ask",
    "431": "the headers are too large",
    "500": "the server failed",
}
# Of one with a body and a job.
_JOB = {
    "404": "there is no such model",
    "408": "the body came too slowly",
    "413": "the body, or the sound in it, is too large",
    "429": "the model is busy; Retry-After says in how many seconds to come again",
    "503": "the server is stopping",
}


def document(service: Service) -> Schema:
    """The document of this server. The page at / and its files are no part of it."""
    engine, keyed = service.engine, service.guard.key is not None
    paths: Schema = {
        "/v1/audio/transcriptions": {"post": _transcriptions(engine.name, engine.languages)},
        "/v1/chat/completions": {"post": _chat(engine.name)},
        "/v1/realtime": {"get": _realtime()},
        "/v1/models": {"get": _get("The model", _json(answers.MODELS))},
        "/v1/models/{id}": {"get": _model()},
        "/v1/edge/memory": {
            "get": _get("Bytes by part, and rows by layer and head", _json(answers.MEMORY))
        },
        "/health": {"get": {**_get("The process answers", _json(answers.STATUS)), "security": []}},
        "/ready": {
            "get": _get("A job can be done", _json(answers.STATUS), {"503": "none can; see why"})
        },
        "/metrics": {"get": _get("Numbers for Prometheus", _texts("text/plain"))},
        PATH: {"get": _get("This document", _json({"type": "object"}))},
    }
    made: Schema = {
        "openapi": "3.1.0",
        "info": {
            "title": "edge_audiokv",
            "version": __version__,
            "summary": "Speech to text and questions about sound, as OpenAI's interface has them.",
        },
        "paths": paths,
    }
    if keyed:
        schemes = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
        made["components"] = {"securitySchemes": schemes}
        made["security"] = [{name: []} for name in schemes]
        for path in paths.values():
            for operation in path.values():
                operation["responses"]["401"] = _refusal("the key is missing or wrong")
    return made


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


def _texts(*kinds: str) -> Schema:
    return {kind: {"schema": {"type": "string"}} for kind in kinds}


def _events(what: str) -> Schema:
    """OpenAPI 3.1 cannot say what stands in a stream."""
    told = f"With stream, server-sent events: {what}; or an error, if it fails on the way."
    return {"text/event-stream": {"schema": {"description": told}}}


def _refusal(why: str) -> Schema:
    return {"description": f"Refused: {why}.", "content": _json(answers.ERROR)}


def _responses(content: Schema, refusals: dict[str, str]) -> Schema:
    refused = {status: _refusal(why) for status, why in {**_ANY, **refusals}.items()}
    return {"200": {"description": "Done.", "content": content}, **refused}


def _get(summary: str, content: Schema, refusals: dict[str, str] | None = None) -> Schema:
    return {"summary": summary, "responses": _responses(content, refusals or {})}


def _post(summary: str, body: Schema, content: Schema) -> Schema:
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": body},
        "responses": _responses(content, _JOB),
    }


def _transcriptions(name: str, languages: tuple[str, ...]) -> Schema:
    body = {"multipart/form-data": {"schema": requests.transcription(name, languages)}}
    told = _json({"oneOf": [answers.TRANSCRIPTION, answers.VERBOSE]})
    texts = _texts("text/plain", "application/x-subrip", "text/vtt")
    events = _events("transcript.text.delta each, and transcript.text.done")
    return _post("What is said in a file", body, {**told, **texts, **events})


def _chat(name: str) -> Schema:
    told = {**_json(answers.COMPLETION), **_events("chat.completion.chunk each, and [DONE]")}
    body = {"application/json": {"schema": requests.chat(name), "example": requests.question(name)}}
    return _post("A question about sound", body, told)


def _model() -> Schema:
    given = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
    told = _get("The model, if that is its name", _json(answers.MODEL), {"404": "it is not here"})
    return {**told, "parameters": [given]}


def _realtime() -> Schema:
    """OpenAPI has no word for a WebSocket; who does not upgrade is told to."""
    refusals = {
        "426": "it speaks WebSocket: OpenAI's Realtime interface in its GA form, with "
        "transcription sessions",
        "429": _JOB["429"],
    }
    refused = {status: _refusal(why) for status, why in {**_ANY, **refusals}.items()}
    return {
        "summary": "Live sound, over a WebSocket",
        "responses": {"101": {"description": "It is one."}, **refused},
    }
