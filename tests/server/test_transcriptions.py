"""Transcriptions without a model: formats, fields that act or are refused, streams, failures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import srt
import webvtt
from openai.types.audio import (
    TranscriptionTextDeltaEvent,
    TranscriptionTextDoneEvent,
    TranscriptionVerbose,
)

from edge_audiokv.events import NO_WORDS, Final
from tests.server.scripted import FINALS, documents, refusal

TEXT = "first words then more"


def test_json_is_the_default(server, engine) -> None:
    response = server.transcribe(b"some sound")
    assert response.status_code == 200
    assert response.json() == {"text": TEXT, "usage": {"type": "duration", "seconds": 3.0}}
    assert engine.heard == [b"some sound"]
    assert engine.forgotten == 1


def test_text_is_the_text_alone(server) -> None:
    response = server.transcribe(response_format="text")
    assert response.text == f"{TEXT}\n"
    assert response.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("format", ["srt", "vtt"])
def test_subtitles_are_what_players_read(server, format) -> None:
    text = server.transcribe(response_format=format).text
    if format == "srt":
        cues = [(c.start.total_seconds(), c.content) for c in srt.parse(text)]
    else:
        cues = [(c.start_in_seconds, c.text) for c in webvtt.from_string(text)]
    assert [content for _, content in cues] == ["first words", "then more"]
    assert cues[0][0] == pytest.approx(0.5, abs=0.5)


def test_verbose_json_is_what_the_client_takes(server) -> None:
    granularities = ["word", "segment"]
    response = server.transcribe(
        response_format="verbose_json", **{"timestamp_granularities[]": granularities}
    )
    told = TranscriptionVerbose.model_validate(response.json(), strict=True)
    assert (told.text, told.language, told.duration) == (TEXT, "english", 3.0)
    assert told.segments is not None and told.words is not None
    assert [(s.id, s.seek, s.start, s.end, s.text) for s in told.segments] == [
        (0, 50, 0.5, 1.5, "first words"),
        (1, 200, 2.0, 3.0, "then more"),
    ]
    # The less the sound bears a segment out, the less likely it is said to be.
    assert 0 > told.segments[0].avg_logprob > told.segments[1].avg_logprob
    assert [(w.word, w.start, w.end) for w in told.words][:2] == [
        ("first", 0.5, 1.0),
        ("words", 1.0, 1.5),
    ]


def test_verbose_json_tells_segments_unless_words_are_asked_for(server) -> None:
    plain = server.transcribe(response_format="verbose_json").json()
    assert "segments" in plain and "words" not in plain
    words = server.transcribe(response_format="verbose_json", timestamp_granularities="word").json()
    assert "words" in words and "segments" not in words


def test_a_stretch_without_words_is_no_segment(server, engine) -> None:
    first, last = engine.finals
    engine.finals = (replace(first, text="", words=(), flags=(NO_WORDS,)), replace(last, id=7))
    (told,) = server.transcribe(response_format="verbose_json").json()["segments"]
    assert (told["id"], told["text"]) == (0, "then more")


def test_silence_is_an_empty_text_in_every_format(server, engine) -> None:
    engine.finals = ()
    assert server.transcribe().json()["text"] == ""
    assert server.transcribe(response_format="text").text == "\n"
    assert server.transcribe(response_format="srt").text == ""
    assert server.transcribe(response_format="vtt").text.startswith("WEBVTT")
    assert server.transcribe(response_format="verbose_json").json()["segments"] == []
    assert documents(server.transcribe(stream="true")) == [
        {"type": "transcript.text.done", "text": ""}
    ]


def test_a_stream_tells_final_text_once_and_ends_as_openais(server, engine) -> None:
    engine.finals = (*FINALS, Final(2, 4.0, 5.0, " "), replace(FINALS[0], id=3))
    response = server.transcribe(stream="true")
    assert response.headers["x-accel-buffering"] == "no"
    *deltas, done = documents(response)
    told = [TranscriptionTextDeltaEvent.model_validate(delta, strict=True) for delta in deltas]
    assert {delta.type for delta in told} == {"transcript.text.delta"}
    end = TranscriptionTextDoneEvent.model_validate(done, strict=True)
    assert end.type == "transcript.text.done"
    assert end.text == "".join(delta.delta for delta in told) == f"{TEXT} first words"


def test_warnings_are_told_beside_the_text(server, engine) -> None:
    engine.warnings = ("the audio: is cut short.",)
    assert server.transcribe().json()["warnings"] == ["the audio: is cut short."]


@pytest.mark.parametrize(
    "fields",
    [
        {"language": ""},
        {"language": "en"},
        {"language": "en-US"},
        {"languages[]": ["en"]},
        {"temperature": "0"},
        {"temperature": "0.0"},
        {"prompt": ""},
        {"stream": "false"},
        {"chunking_strategy": "auto"},
        {"timestamp_granularities[]": ""},
        {"model": "scripted"},
        {"model": "gpt-4o-mini-transcribe"},
        {"of_another_server": "1"},
    ],
    ids=str,
)
def test_fields_that_can_be_honoured_are(server, fields) -> None:
    assert server.transcribe(**fields).json()["text"] == TEXT


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"language": "de"}, "language"),
        ({"languages[]": ["en", "de"]}, "languages"),
        ({"prompt": "Dear reader"}, "prompt"),
        ({"keywords[]": ["boat"]}, "keywords"),
        ({"include[]": ["logprobs"]}, "include"),
        ({"known_speaker_names[]": ["A"]}, "known_speaker_names"),
        ({"temperature": "0.5"}, "temperature"),
        ({"temperature": "warm"}, "temperature"),
        ({"response_format": "diarized_json"}, "response_format"),
        ({"response_format": "xml"}, "response_format"),
        ({"response_format": ["json", "text"]}, "response_format"),
        ({"response_format": "srt", "stream": "true"}, "response_format"),
        ({"stream": "perhaps"}, "stream"),
        ({"timestamp_granularities[]": ["word"]}, "timestamp_granularities"),
        (
            {"timestamp_granularities[]": ["letter"], "response_format": "verbose_json"},
            "timestamp_granularities",
        ),
        ({"chunking_strategy": "none"}, "chunking_strategy"),
        ({"chunking_strategy[type]": "server_vad"}, "chunking_strategy"),
        ({"model": ""}, "model"),
    ],
    ids=str,
)
def test_fields_that_cannot_be_honoured_are_refused_by_name(server, engine, fields, param) -> None:
    response = server.transcribe(**fields)
    assert response.status_code == 400
    assert refusal(response)["param"] == param
    assert not engine.heard


def test_a_model_that_is_not_here(server) -> None:
    response = server.transcribe(model="large-v3")
    assert response.status_code == 404
    assert refusal(response)["code"] == "model_not_found"
    assert "scripted" in refusal(response)["message"]


@pytest.mark.parametrize("stream", ["false", "true"])
def test_what_is_no_sound_is_the_clients_fault(server, stream) -> None:
    response = server.transcribe(b"not sound", stream=stream)
    assert response.status_code == 400
    assert refusal(response)["param"] == "file"


@pytest.mark.parametrize("stream", ["false", "true"])
def test_a_crash_is_ours_tells_nothing_and_is_not_repeated(server, stream, caplog) -> None:
    response = server.transcribe(b"crash", stream=stream)
    assert response.status_code == 500
    assert "secret" not in response.text + caplog.text
    assert refusal(response)["type"] == "server_error"
    # The next one is served; until then nobody is told that all is well.
    assert server.request("GET", "/ready").status_code == 503
    assert server.transcribe().json()["text"] == TEXT
    assert server.request("GET", "/ready").status_code == 200


def test_a_failure_within_a_stream_is_its_last_document(server) -> None:
    response = server.transcribe(b"breaks", stream="true")
    assert response.status_code == 200
    *deltas, last = documents(response)
    assert len(deltas) == 2
    assert last["error"]["type"] == "server_error"


def test_sound_that_is_too_long_once_decoded(make_server) -> None:
    response = make_server(audio_s=2.0).transcribe()
    assert response.status_code == 413
    assert refusal(response)["code"] == "audio_too_long"


def post(server, **options: Any):
    return server.request("POST", "/v1/audio/transcriptions", **options)


def test_without_a_file(server) -> None:
    response = post(server, data={"model": "whisper-1"}, files={"note": (None, "text")})
    assert response.status_code == 400
    assert refusal(response)["param"] == "file"


def test_a_body_that_is_no_form(server) -> None:
    for options in ({"json": {}}, {"content": b"x"}, {"data": {"model": "whisper-1"}}):
        assert refusal(post(server, **options))
