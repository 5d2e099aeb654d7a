"""The description is true: its paths are served, and its fields are honoured or refused as it says.

That answers have the forms that it gives them is for scripts/fuzz_openapi.py to try.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from openai.types.audio.transcription_create_params import (
    TranscriptionCreateParamsNonStreaming as Transcription,
)
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming as Completion,
)

from edge_audiokv.server.guard import Guard
from edge_audiokv.server.page import files
from tests.server.scripted import refusal

TRANSCRIPTIONS, CHAT = "/v1/audio/transcriptions", "/v1/chat/completions"
KEY = "0123456789abcdef"
# Those that say what kind of answer it is are tried one by one elsewhere.
TIMES = {"response_format": "verbose_json"}


def described(server: Any, **headers: str) -> dict[str, Any]:
    found: dict[str, Any] = server.request("GET", "/openapi.json", headers=headers).json()
    return found


def schemas(part: Any) -> Iterator[Any]:
    if isinstance(part, dict):
        if "schema" in part:
            yield part["schema"]
        part = list(part.values())
    for inner in part if isinstance(part, list) else []:
        yield from schemas(inner)


def fields_of(document: dict[str, Any], path: str) -> tuple[dict[str, Any], Any]:
    """The properties of a body, and the body's example."""
    (media,) = document["paths"][path]["post"]["requestBody"]["content"].values()
    return media["schema"]["properties"], media.get("example")


@pytest.mark.parametrize("page", [True, False])
def test_its_paths_are_those_that_are_served(make_server, page) -> None:
    server = make_server(page=page)
    served = {
        (route.path.replace(":path", ""), method.lower())
        for route in server.app._app.routes
        for method in route.methods - {"HEAD"}
        if route.path not in files.PATHS
    }
    document = described(server)
    told = {(path, method) for path, item in document["paths"].items() for method in item
            if method != "parameters"}  # fmt: skip
    assert told == served
    assert document["openapi"] == "3.1.0"


def test_its_schemas_are_schemas(server) -> None:
    found = list(schemas(described(server)))
    assert len(found) > 20
    for schema in found:
        jsonschema.Draft202012Validator.check_schema(schema)


def test_every_field_of_a_transcription_is_told_and_does_what_it_says(server) -> None:
    told, _ = fields_of(described(server), TRANSCRIPTIONS)
    assert {name.removesuffix("[]") for name in told} == set(Transcription.__annotations__)
    for name, schema in told.items():
        if name == "file":
            continue
        values = schema.get("enum") or schema.get("items", {}).get("enum") or [schema.get("const")]
        for value in values:
            if value is not None:
                beside = TIMES if name.startswith("timestamp") else {}
                assert server.transcribe(**{**beside, name: value}).status_code == 200, (
                    name,
                    value,
                )
        answer = server.transcribe(**{name: "what"})
        assert answer.status_code in (400, 404), name
        assert refusal(answer)["param"] == name.removesuffix("[]")


def test_every_field_of_a_chat_does_what_is_told_or_is_let_be(server) -> None:
    told, example = fields_of(described(server), CHAT)
    assert set(told) <= set(Completion.__annotations__)
    assert server.chat(example["messages"]).status_code == 200

    def answer(**fields: Any) -> Any:
        beside = {"stream": True} if "stream_options" in fields else {}
        return server.request("POST", CHAT, json={**example, **beside, **fields})

    for name in Completion.__annotations__:
        wrong = answer(**{name: {"what": ["is", "this"]}})
        if name not in told:
            assert wrong.status_code == 200, name
        elif name == "stream_options":  # an object whose unknown fields are let be
            assert refusal(answer(stream_options={"include_usage": 1}))["param"].startswith(name)
        else:
            assert wrong.status_code in (400, 404), name
            assert refusal(wrong)["param"] == name
        for value in told.get(name, {}).get("enum", []):
            assert answer(**{name: value}).status_code == 200, (name, value)


def test_with_a_key_it_says_how_to_give_it_and_wants_it(make_server) -> None:
    server = make_server(Guard(key=KEY))
    assert server.request("GET", "/openapi.json").status_code == 401
    document = described(server, authorization=f"Bearer {KEY}")
    assert set(document["components"]["securitySchemes"]) == {"bearer", "header"}
    assert document["paths"]["/health"]["get"]["security"] == []
    assert "401" in document["paths"]["/metrics"]["get"]["responses"]
    assert server.request("GET", "/metrics", headers={"x-api-key": KEY}).status_code == 200
