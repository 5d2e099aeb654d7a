"""Each format, letter by letter, and what all writers promise."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_audiokv.errors import OutputError
from edge_audiokv.events import Final, MemoryReport, Partial, Word, from_json
from edge_audiokv.output.json import JsonWriter
from edge_audiokv.output.jsonl import JsonlWriter
from edge_audiokv.output.srt import SrtWriter
from edge_audiokv.output.target import FORMATS
from edge_audiokv.output.text import TextWriter
from edge_audiokv.output.vtt import VttWriter


def written(make, events, **options):
    sink = io.StringIO()
    with make(sink, **options) as writer:
        for event in events:
            writer.write(event)
    return sink.getvalue()


def test_text(talk):
    assert written(TextWriter, talk) == (
        "Hello there, General.\na < b --> c & d\nQ: Who is there?\nA: A general.\n"
    )


def test_text_with_times(talk):
    assert written(TextWriter, talk[:3], timestamps=True) == (
        "[00:00:00.500 --> 00:00:12.340] Hello there, General.\n"
    )


def test_srt(talk):
    assert written(SrtWriter, talk) == (
        "1\n00:00:00,500 --> 00:00:04,700\nHello there, General.\n\n"
        "2\n01:00:00,000 --> 01:00:01,500\na < b -> c & d\n\n"
    )


def test_vtt(talk):
    assert written(VttWriter, talk) == (
        "WEBVTT\n\n"
        "00:00:00.500 --> 00:00:04.700\nHello there, General.\n\n"
        "01:00:00.000 --> 01:00:01.500\na &lt; b --&gt; c &amp; d\n\n"
    )


def test_jsonl_is_the_event_codec(talk):
    lines = written(JsonlWriter, talk).splitlines()
    assert [from_json(line) for line in lines] == [talk[0], *talk[2:]]


def test_jsonl_with_everything(talk):
    events = [*talk, MemoryReport(1.0, 100, 50, {"kv": 10})]
    lines = written(JsonlWriter, events, everything=True).splitlines()
    assert [from_json(line) for line in lines] == events


def test_json(talk):
    document = json.loads(written(JsonWriter, talk))
    assert document == {
        "segments": [
            {
                "id": 0,
                "start_s": 0.5,
                "end_s": 12.34,
                "text": "Hello there,\nGeneral.",
                "flags": [],
            },
            {"id": 1, "start_s": 3600.0, "end_s": 3601.5, "text": talk[3].text, "flags": ["cut"]},
            {"id": 2, "start_s": 3602.0, "end_s": 3603.0, "text": "  ", "flags": []},
        ],
        "answers": [
            {
                "question": "Who is there?",
                "text": "A general.",
                "time_s": 3605.0,
                "heard": True,
                "sources": [],
                "evidence": None,
                "confidence": None,
                "declined": False,
            }
        ],
        "text": "Hello there, General. a < b --> c & d",
        "complete": True,
    }


def test_json_tells_the_files_and_the_model():
    facts = {"model": "tiny", "quantisation": "q8_0", "language": None}
    for files in ([("a.wav", 3.71649)], [("a.wav", 3.7), ("b.wav", 4.0)]):
        sink = io.StringIO()
        with JsonWriter(sink) as writer:
            writer.facts = facts
            for name, duration_s in files:
                writer.heard(name, duration_s)
        document = json.loads(sink.getvalue())
        told = [{"file": name, "duration_s": round(length_s, 3)} for name, length_s in files]
        assert document["files"] == told
        assert document.get("file") == ("a.wav" if len(files) == 1 else None)
        assert document["duration_s"] == (3.716 if len(files) == 1 else 7.7)
        assert {name: document[name] for name in facts} == facts
        assert list(document)[:3] == ["segments", "answers", "text"] and document["complete"]


def test_jsonl_names_the_model_where_there_are_words(talk):
    sink = io.StringIO()
    with JsonlWriter(sink) as writer:
        writer.about, writer.facts = {"file": "a.wav"}, {"model": "tiny", "language": "en"}
        for event in talk:
            writer.write(event)
    records = [json.loads(line) for line in sink.getvalue().splitlines()]
    assert {record["type"] for record in records} > {"final", "answer"}
    for record in records:
        assert record["file"] == "a.wav"
        assert (record.get("model") == "tiny") == (record["type"] in ("final", "answer"))
    assert [from_json(line) for line in sink.getvalue().splitlines()] == [
        event for event in talk if not isinstance(event, (Partial, MemoryReport))
    ]


@pytest.mark.parametrize("make", [JsonWriter, JsonlWriter])
def test_words_are_in_the_records_that_have_them(make):
    words = (Word("Hello", 0.5, 1.0, 0.25), Word("there.", 1.0, 1.5, 1.0))
    out = written(make, [Final(0, 0.5, 1.5, "Hello there.", words=words, confidence=0.6)])
    record = json.loads(out)
    record = record["segments"][0] if make is JsonWriter else record
    assert record["words"][0] == {
        "text": "Hello",
        "start_s": 0.5,
        "end_s": 1.0,
        "confidence": 0.25,
    }
    assert record["confidence"] == 0.6


@given(texts=st.lists(st.text(max_size=40), max_size=6))
def test_json_holds_any_text(texts):
    events = [Final(i, float(i), i + 0.5, text) for i, text in enumerate(texts)]
    document = json.loads(written(JsonWriter, events))
    assert [segment["text"] for segment in document["segments"]] == texts
    assert document["text"].split() == " ".join(texts).split()


@given(text=st.text(min_size=1, max_size=40).filter(str.strip))
def test_subtitles_keep_their_shape_for_any_text(text):
    for make, lines in ((SrtWriter, 3), (VttWriter, 2)):
        body = written(make, [Final(0, 0.0, 1.0, text)]).removeprefix("WEBVTT\n\n")
        assert body.endswith("\n\n") and body.count("\n") == lines + 1
        assert body.count("-->") == 1


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_said_is_a_valid_document(name):
    empty = written(FORMATS[name], [])
    if name == "json":
        assert json.loads(empty) == {"segments": [], "answers": [], "text": "", "complete": True}
    else:
        assert empty == ("WEBVTT\n\n" if name == "vtt" else "")


@pytest.mark.parametrize("name", FORMATS)
def test_an_error_before_the_first_result_writes_nothing(name):
    sink = io.StringIO()
    with pytest.raises(RuntimeError), FORMATS[name](sink):
        raise RuntimeError
    assert sink.getvalue() == ""


def test_broken_off_json_is_valid_and_says_so(talk):
    sink = io.StringIO()
    with pytest.raises(KeyboardInterrupt), JsonWriter(sink) as writer:
        writer.write(talk[2])
        raise KeyboardInterrupt
    document = json.loads(sink.getvalue())
    assert len(document["segments"]) == 1 and document["complete"] is False


@pytest.mark.parametrize("name", ["text", "jsonl", "srt", "vtt"])
def test_every_record_is_flushed_whole(name, talk):
    class Flushes(io.StringIO):
        def flush(self):
            flushed.append(self.getvalue())

    flushed: list[str] = []
    writer = FORMATS[name](Flushes())
    writer.write(talk[2])
    assert flushed[-1].count("General") == 1 and flushed[-1].endswith("\n")
    writer.close()


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_written_are_whole_lines(name, talk):
    """A bar may be drawn below what stands on a terminal."""

    class Flushes(io.StringIO):
        def flush(self):
            flushed.append(self.getvalue())

    flushed: list[str] = []
    writer = FORMATS[name](Flushes())
    for event in talk:
        writer.write(event)
        assert all(text.endswith("\n") for text in flushed if text)
    writer.close()
    assert any(flushed) and flushed[-1].endswith("\n")


@pytest.mark.parametrize("name", FORMATS)
def test_close_twice_and_write_after(name, talk):
    writer = FORMATS[name](io.StringIO())
    writer.close()
    writer.close()
    with pytest.raises(OutputError, match="closed"):
        writer.write(talk[2])
