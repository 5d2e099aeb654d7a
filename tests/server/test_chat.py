"""Chats without a model: clips and questions in, answers whole or in chunks, fields refused."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tests.server.scripted import documents, refusal

SOUND = b"RIFF and so on"


def clip(data: bytes = SOUND) -> dict[str, Any]:
    text = base64.b64encode(data).decode()
    return {"type": "input_audio", "input_audio": {"data": text, "format": "wav"}}


def link(url: str) -> dict[str, Any]:
    return {"type": "audio_url", "audio_url": {"url": url}}


def user(*parts: dict[str, Any] | str) -> dict[str, Any]:
    content = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
    return {"role": "user", "content": content}


ASKED = [user(clip(), "What is on the water?")]


def test_a_question_about_a_clip(server, engine) -> None:
    told = ChatCompletion.model_validate(server.chat(ASKED).json(), strict=True)
    (choice,) = told.choices
    assert (choice.message.content, choice.finish_reason) == ("a boat on the water", "stop")
    assert told.model == "scripted"
    assert told.usage is not None
    assert (told.usage.prompt_tokens, told.usage.completion_tokens) == (15, 5)
    assert (engine.heard, engine.asked) == ([SOUND], ["What is on the water?"])
    assert engine.forgotten == 1


def test_without_a_question_it_tells_what_is_said(server, engine) -> None:
    told = server.chat([user(clip())]).json()
    assert told["choices"][0]["message"]["content"] == "first words then more"
    assert engine.asked == []


def test_a_data_url_is_sound_too(server, engine) -> None:
    text = base64.b64encode(SOUND).decode()
    for kind in ("audio/wav", "audio/ogg; codecs=opus", ""):
        assert server.chat([user(link(f"data:{kind};base64,{text}"))]).status_code == 200
    assert engine.heard == [SOUND] * 3


def test_a_long_clip_passes_the_disk_in_whole(server, engine) -> None:
    data = bytes(range(256)) * 1000
    body = f'{{"model": "scripted", "messages": [{user(clip(data))}]}}'.replace("'", '"')
    for text in (body, body.replace("/", "\\/")):  # as some writers put it
        response = server.request(
            "POST",
            "/v1/chat/completions",
            content=text,
            headers={"content-type": "application/json; charset=utf-8"},
        )
        assert response.status_code == 200, response.text
    assert engine.heard == [data] * 2


def test_a_conversation_hears_all_clips_and_answers_the_last_question(server, engine) -> None:
    talk = [
        user(clip(b"one"), "What was first?"),
        {"role": "assistant", "content": "a boat"},
        user(clip(b"two"), "And", "then?"),
    ]
    assert server.chat(talk).status_code == 200
    assert (engine.heard, engine.asked) == ([b"one", b"two"], ["And then?"])


def test_a_stream_grows_and_ends_as_openais(server) -> None:
    asked = {"stream": True, "stream_options": {"include_usage": True}}
    *events, end = documents(server.chat(ASKED, **asked))
    assert end == "[DONE]"
    chunks = [ChatCompletionChunk.model_validate(event, strict=True) for event in events]
    assert len({chunk.id for chunk in chunks}) == 1
    *spoken, last = [chunk for chunk in chunks if chunk.choices]
    assert spoken[0].choices[0].delta.role == "assistant"
    grown = [chunk.choices[0].delta.content for chunk in spoken]
    assert "".join(text or "" for text in grown) == "a boat on the water"
    assert len(grown) > 3
    assert last.choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None and chunks[-1].usage.total_tokens == 20


def test_a_stream_without_usage_has_none(server) -> None:
    events = documents(server.chat(ASKED, stream=True))
    assert all("usage" not in event for event in events[:-1])


def test_a_stream_takes_nothing_back(server, engine) -> None:
    """The guard cuts a loop when it is sure of one; until then the rounds are not told."""
    engine.answered = "on and on and on and on and on"
    real = engine.ask

    def ask(question, on_text):
        real(question, on_text)
        return "on and"

    engine.ask = ask
    events = documents(server.chat(ASKED, stream=True))[:-1]
    grown = [event["choices"][0]["delta"].get("content") or "" for event in events]
    assert "".join(grown) == "on and"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fields", "text", "reason"),
    [
        ({"max_tokens": 2}, "a boat", "length"),
        ({"max_tokens": 4, "max_completion_tokens": 3}, "a boat on", "length"),
        ({"max_tokens": 50}, "a boat on the water", "stop"),
        ({"stop": " on the"}, "a boat", "stop"),
        ({"stop": ["never", "at on", "wat"]}, "a bo", "stop"),
    ],
    ids=str,
)
def test_bounds_and_stops_are_kept(server, fields, text, reason, stream) -> None:
    response = server.chat(ASKED, **fields, stream=stream)
    if stream:
        events = documents(response)[:-1]
        choices = [event["choices"][0] for event in events]
        told = "".join(choice["delta"].get("content") or "" for choice in choices)
        assert (told, choices[-1]["finish_reason"]) == (text, reason)
    else:
        choice = response.json()["choices"][0]
        assert (choice["message"]["content"], choice["finish_reason"]) == (text, reason)


@pytest.mark.parametrize(
    ("fields", "text", "reason"),
    [({"max_tokens": 3}, "first words then", "length"), ({"stop": "then"}, "first words ", "stop")],
    ids=str,
)
def test_what_is_said_is_cut_like_an_answer(server, fields, text, reason) -> None:
    choice = server.chat([user(clip())], **fields).json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == (text, reason)


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 0, "top_p": 1, "n": 1, "seed": 7},
        {"modalities": ["text"], "tools": [], "tool_choice": "none", "logprobs": False},
        {"response_format": {"type": "text"}, "store": False, "user": "me", "audio": None},
        {"of_another_server": {"a": [1]}},
    ],
    ids=str,
)
def test_fields_that_ask_for_what_is_done_anyway(server, fields) -> None:
    assert server.chat(ASKED, **fields).status_code == 200


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": 1}, "temperature"),
        ({"temperature": False}, "temperature"),
        ({"top_p": 0.5}, "top_p"),
        ({"n": 2}, "n"),
        ({"n": True}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "alloy", "format": "wav"}}, "audio"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"store": True}, "store"),
        ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"presence_penalty": 0.1}, "presence_penalty"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": [""]}, "stop"),
        ({"stop": 5}, "stop"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": "9"}, "max_completion_tokens"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"model": 5}, "model"),
    ],
    ids=str,
)
def test_fields_that_cannot_be_honoured_are_refused_by_name(server, engine, fields, param) -> None:
    response = server.chat(ASKED, **fields)
    assert response.status_code == 400
    assert refusal(response)["param"] == param
    assert not engine.heard


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        (None, "messages"),
        ([], "messages"),
        (["text"], "messages[0].role"),
        ([user("no sound")], "messages"),
        ([{"role": "user", "content": "no sound"}], "messages"),
        ([user(clip()), {"role": "assistant", "content": "x"}], "messages"),
        ([{"role": "system", "content": "Be brief."}, user(clip())], "messages[0].role"),
        ([{"role": "tool", "content": "x"}, user(clip())], "messages[0].role"),
        ([{"role": "user", "content": 5}], "messages[0].content"),
        ([user({"type": "image_url"})], "messages[0].content[0].type"),
        ([user({"type": ["text"]})], "messages[0].content[0].type"),
        ([user({"type": "text", "text": 5})], "messages[0].content[0].text"),
        ([user(clip(), "long " * 2000)], "messages[0].content[1].text"),
        ([user(clip(b""))], "messages[0].content[0].input_audio.data"),
        ([user({"type": "input_audio"})], "messages[0].content[0].input_audio.format"),
        (
            [user({"type": "input_audio", "input_audio": {"data": "a?b=", "format": "wav"}})],
            "messages[0].content[0].input_audio.data",
        ),
        (
            [user({"type": "input_audio", "input_audio": {"data": "é", "format": "wav"}})],
            "messages[0].content[0].input_audio.data",
        ),
        ([user(*[clip()] * 17)], "messages"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_messages_that_cannot_be_heard(server, engine, messages, param) -> None:
    response = server.chat(messages)
    assert response.status_code == 400, response.text
    assert refusal(response)["param"] == param
    assert not engine.heard


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/a.wav",
        "https://example.org/a.wav",
        "file:///etc/passwd",
        "ftp://example.org/a",
        "data:audio/wav,plain",
        "data:audio/wav;base64",
        "",
    ],
)
def test_no_address_is_fetched(server, engine, url) -> None:
    response = server.chat([user(link(url))])
    assert response.status_code == 400
    assert refusal(response)["param"] == "messages[0].content[0].audio_url.url"
    assert not engine.heard


def test_padding_is_an_end(server) -> None:
    """Two texts that were joined are not one sound."""
    text = base64.b64encode(b"x" * 49150).decode() + base64.b64encode(b"yyy").decode()
    part = {"type": "input_audio", "input_audio": {"data": text, "format": "wav"}}
    assert server.chat([user(part)]).status_code == 400


def test_a_clip_that_is_too_large(make_server) -> None:
    server = make_server(upload_bytes=10_000)
    response = server.chat([user(clip(b"x" * 10_001))])
    assert response.status_code == 413
    response = server.chat([user(clip(b"x" * 7_000), clip(b"x" * 7_000))])
    assert response.status_code == 413
    assert server.chat([user(clip(b"x" * 10_000))]).status_code == 200


def test_another_content_type_is_refused(server) -> None:
    """A page may send a form or plain text without asking; JSON it may not."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        response = server.request(
            "POST", "/v1/chat/completions", content="{}", headers={"content-type": kind}
        )
        assert response.status_code == 400


@pytest.mark.parametrize("part", ['{"type":"text","text":"\\ud800-0"}', '{"data":"\\ud800-0"}'])
def test_half_a_character_is_refused(server, part: str) -> None:
    body = f'{{"model":"scripted","messages":[{{"role":"user","content":[{part}]}}]}}'
    response = server.request(
        "POST",
        "/v1/chat/completions",
        content=body,
        headers={"content-type": "application/json"},
    )
    assert response.status_code == 400
