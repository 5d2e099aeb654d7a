"""Reading events: what is honoured, what is refused by name, and that a refusal changes nothing."""

from __future__ import annotations

import base64
import json
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_audiokv.server.faults import ApiError, encoded
from edge_audiokv.server.realtime.g711 import to_pcm
from edge_audiokv.server.realtime.wishes import Adjust, Append
from tests.server.realtime.talk import Dialect, checked

VAD = {"type": "server_vad"}


def session(**given: object) -> dict[str, object]:
    return {"type": "transcription", "audio": {"input": given}}


def test_what_a_session_is_at_first_and_what_it_becomes(dialect: Dialect, engine) -> None:
    first, (created,) = dialect.ga.begin({"model": "gpt-4o-transcribe"})
    assert first == Adjust(engine.endpoint)
    assert created["session"]["type"] == "transcription"
    given = session(
        format={"type": "audio/pcmu"},
        transcription={
            "model": "whisper-1",
            "language": "en-US",
            "prompt": "",
            "languages": ["en"],
        },
        turn_detection=None,
        noise_reduction=None,
    )
    wish, (updated,) = dialect.read("session.update", session=given | {"include": []})
    assert wish == Adjust(None)
    shown = updated["session"]["audio"]["input"]
    assert shown["format"] == {"type": "audio/pcmu"} and shown["turn_detection"] is None
    assert shown["transcription"] == {"model": "whisper-1", "language": "en-US"}
    # What is told may be sent back, and what is not named stays.
    wish, (again,) = dialect.read("session.update", session=updated["session"])
    assert wish is None and again["session"] == updated["session"]
    wish, (turned,) = dialect.read("session.update", session=session(turn_detection=VAD))
    assert wish == Adjust(engine.endpoint)
    assert turned["session"]["audio"]["input"]["format"] == {"type": "audio/pcmu"}


@pytest.mark.parametrize("model", ["gpt-live-transcribe", "gpt-realtime-whisper"])
def test_models_whose_clients_commit_find_no_turns_unless_asked(dialect, engine, model) -> None:
    """LiveKit's plug-in asks for none, commits what it finds itself, and an error ends its stream:
    such as of a commit of what the server had already ended.
    """
    first, (created,) = dialect.ga.begin({"intent": "transcription", "model": model})
    assert first == Adjust(None)
    assert created["session"]["audio"]["input"]["turn_detection"] is None
    hints = {"model": model, "keywords": [], "languages": ["en"]}
    assert dialect.read("session.update", session=session(transcription=hints))[0] is None
    wish, _ = dialect.read("session.update", session=session(turn_detection=VAD))
    assert wish == Adjust(engine.endpoint)
    # Said again, the model changes nothing that was asked for.
    assert dialect.read("session.update", session=session(transcription=hints))[0] is None
    for name, expected in (("whisper-1", None), (model, Adjust(None))):
        given = session(transcription={"model": name})
        assert dialect.read("session.update", session=given)[0] == expected


@pytest.mark.parametrize(
    ("given", "param"),
    [
        (None, "session"),
        ([], "session"),
        ({}, "session.type"),
        ({"type": "realtime"}, "session.type"),
        ({"type": 3}, "session.type"),
        ({"type": "transcription", "voice": "alloy"}, "session.voice"),
        ({"type": "transcription", "include": ["logprobs"]}, "session.include"),
        ({"type": "transcription", "audio": None}, "session.audio"),
        ({"type": "transcription", "audio": {"output": {}}}, "session.audio.output"),
        (session(format="pcm16"), "session.audio.input.format"),
        (session(format={"type": "audio/opus"}), "session.audio.input.format.type"),
        (session(format={"type": "audio/pcm", "rate": 48000}), "session.audio.input.format.rate"),
        (session(format={"type": "audio/pcma", "bits": 8}), "session.audio.input.format.bits"),
        (session(noise_reduction={"type": "near_field"}), "session.audio.input.noise_reduction"),
        (session(transcription=None), "session.audio.input.transcription"),
        (session(transcription={"model": "gpt-5"}), "model"),
        (session(transcription={"language": "de"}), "session.audio.input.transcription.language"),
        (
            session(transcription={"languages": ["en", "de"]}),
            "session.audio.input.transcription.languages",
        ),
        (session(transcription={"languages": "en"}), "session.audio.input.transcription.languages"),
        (session(transcription={"prompt": "names"}), "session.audio.input.transcription.prompt"),
        (session(transcription={"keywords": ["a"]}), "session.audio.input.transcription.keywords"),
        (session(transcription={"delay": "low"}), "session.audio.input.transcription.delay"),
        (session(turn_detection="server_vad"), "session.audio.input.turn_detection"),
        (
            session(turn_detection={"type": "semantic_vad"}),
            "session.audio.input.turn_detection.type",
        ),
        (session(turn_detection=VAD | {"threshold": 2}), "session.audio.input.turn_detection"),
        (
            session(turn_detection=VAD | {"threshold": "0.5"}),
            "session.audio.input.turn_detection.threshold",
        ),
        (
            session(turn_detection=VAD | {"silence_duration_ms": 10**9}),
            "session.audio.input.turn_detection",
        ),
        (
            session(turn_detection=VAD | {"prefix_padding_ms": 1.5}),
            "session.audio.input.turn_detection.prefix_padding_ms",
        ),
        (
            session(turn_detection=VAD | {"create_response": True}),
            "session.audio.input.turn_detection.create_response",
        ),
        (
            session(turn_detection=VAD | {"idle_timeout_ms": 5000}),
            "session.audio.input.turn_detection.idle_timeout_ms",
        ),
    ],
    ids=str,
)
def test_what_a_session_cannot_be_is_refused_by_name(dialect: Dialect, given, param) -> None:
    _, (before,) = dialect.ga.begin({})
    error = dialect.refusal("session.update", session=given, event_id="mine")
    assert (error["param"], error["event_id"]) == (param, "mine")
    _, (after,) = dialect.read("session.update", session={"type": "transcription"})
    assert after["session"] == before["session"]


@pytest.mark.parametrize(
    ("kind", "fields", "code"),
    [
        ("", {}, "invalid_value"),
        ("session.updat", {}, "unknown_event"),
        ("transcription_session.update", {"session": {}}, "unknown_event"),
        ("input_audio_buffer.append", {}, "invalid_value"),
        ("input_audio_buffer.append", {"audio": 3}, "invalid_value"),
        ("input_audio_buffer.append", {"audio": "AA=A"}, "invalid_value"),
        ("input_audio_buffer.append", {"audio": "AAAA\n"}, "invalid_value"),
        ("input_audio_buffer.append", {"audio": "é"}, "invalid_value"),
        ("input_audio_buffer.append", {"audio": "AAAA", "rate": 8000}, "unknown_parameter"),
        ("input_audio_buffer.commit", {"final": True}, "unknown_parameter"),
        ("conversation.item.create", {"item": None}, "invalid_value"),
        ("conversation.item.create", {"item": {"type": "function_call"}}, "unsupported_value"),
        ("conversation.item.retrieve", {"item_id": "a"}, "unsupported_event"),
        ("conversation.item.delete", {"item_id": "a"}, "unsupported_event"),
        ("conversation.item.truncate", {"item_id": "a"}, "unsupported_event"),
        ("output_audio_buffer.clear", {}, "unknown_event"),
        ("response.cancel", {}, "no_response"),
    ],
)
def test_what_no_event_is(dialect: Dialect, kind, fields, code) -> None:
    assert dialect.refusal(kind, **fields)["code"] == code


@pytest.mark.parametrize(
    "text",
    ["", "no JSON", "[]", "3", "null", '{"type": NaN}', "[" * 100_000, '{"a":[' + "[]," * 5000,
     '{"type": "input_audio_buffer.commit"', "\x00", '{"type": ["a"]}'],
    ids=lambda text: repr(text[:12]),
)  # fmt: skip
def test_what_is_no_event_at_all(dialect: Dialect, text) -> None:
    with pytest.raises(ApiError) as refused:
        dialect.ga.read(text, uncommitted=False)
    assert refused.value.status == 400


_ITEM = {
    "type": "message", "role": "user", "content": [{"type": "input_text", "text": "What?"}],
}  # fmt: skip
_VALID = (
    {"type": "session.update", "session": session(
        format={"type": "audio/pcm", "rate": 24000},
        transcription={"model": "whisper-1", "language": "en"},
        turn_detection=VAD | {"threshold": 0.4, "silence_duration_ms": 400},
        noise_reduction=None,
    )},
    {"type": "input_audio_buffer.append", "audio": "AAAA"},
    {"type": "input_audio_buffer.commit"},
    {"type": "input_audio_buffer.clear"},
    {"type": "conversation.item.create", "item": _ITEM, "previous_item_id": None},
    {"type": "response.create", "response": {"input": [_ITEM], "max_output_tokens": "inf"}},
    {"type": "response.cancel", "response_id": "resp_a"},
)  # fmt: skip
_LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
    st.sampled_from(["message", "server_vad", "audio/pcma", "input_text", "\ud800", "inf"]),
)  # fmt: skip
_VALUES = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner)
)


def damaged(value: Any, data: st.DataObject) -> Any:
    """`value` with something else at one place in it, or under another name."""
    if isinstance(value, dict) and value and data.draw(st.integers(0, 4)):
        name = data.draw(st.sampled_from(sorted(value)))
        new = name if data.draw(st.integers(0, 4)) else data.draw(st.text(max_size=8))
        return {**value, new: damaged(value[name], data)}
    if isinstance(value, list) and value and data.draw(st.booleans()):
        return [damaged(value[0], data), *value[1:]]
    return data.draw(_VALUES)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_damaged_events_are_refused_or_read_and_nothing_else(engine, data) -> None:
    dialect = Dialect(engine)
    for _ in range(3):
        event = damaged(data.draw(st.sampled_from(_VALID)), data)
        kind = data.draw(st.sampled_from(_VALID))["type"]
        event = event if isinstance(event, dict) else {"type": kind, "audio": event}
        try:
            _, documents = dialect.ga.read(json.dumps(event), uncommitted=data.draw(st.booleans()))
        except ApiError as error:
            documents = [dialect.ga.refused(error)]
        for document in documents:
            checked(json.loads(encoded(document)))


@pytest.mark.parametrize(
    ("query", "param"),
    [({"model": "gpt-5"}, "model"), ({"intent": "conversation"}, "intent")],
)
def test_an_address_that_asks_for_something_else(dialect: Dialect, query, param) -> None:
    with pytest.raises(ApiError) as refused:
        dialect.ga.begin(query)
    assert refused.value.param == param


@pytest.mark.parametrize(
    "query",
    [{}, {"intent": "transcription"}, {"model": "scripted"}, {"model": "gpt-realtime"},
     {"model": "gpt-realtime-whisper", "intent": "transcription"}],
    ids=str,
)  # fmt: skip
def test_the_addresses_that_clients_use(dialect: Dialect, query) -> None:
    assert dialect.ga.begin(query)[1][0]["type"] == "session.created"


def test_sound_in_each_format(dialect: Dialect) -> None:
    audio = base64.b64encode(b"\x01\x02\x03").decode()
    assert dialect.read("input_audio_buffer.append", audio=audio)[0] == Append(
        b"\x01\x02\x03", 24_000
    )
    dialect.read("session.update", session=session(format={"type": "audio/pcma"}))
    wish, _ = dialect.read("input_audio_buffer.append", audio=audio)
    assert (len(wish.pcm), wish.rate_hz) == (6, 8_000)


@pytest.mark.parametrize(("kind", "subtype"), [("audio/pcmu", "ULAW"), ("audio/pcma", "ALAW")])
def test_telephone_sound_is_what_libsndfile_makes_of_it(tmp_path, kind, subtype) -> None:
    import soundfile

    path = tmp_path / "all.raw"
    path.write_bytes(bytes(range(256)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs, _ = soundfile.read(
            path, format="RAW", subtype=subtype, samplerate=8000, channels=1, dtype="int16"
        )
    assert np.array_equal(np.frombuffer(to_pcm(bytes(range(256)), kind), "<i2"), theirs)
