"""Events survive the wire, and the wire is stable."""

from __future__ import annotations

import json

import pytest

from edge_audiokv import events

EXAMPLES = [
    events.SpeechStarted(1, 0.5),
    events.Partial(1, 0.5, 1.25, "hello wor", stable="hello"),
    events.Final(1, 0.5, 2.0, "hello world", flags=("loop", "retried")),
    events.Answer("who?", "me", 3.0),
    events.Evicted(1.0, 100, 25_600, 50),
    events.MemoryReport(1.0, 2_000, 1_000, {"weights": 10}),
    events.Overflow(1.0, 512),
    events.DeviceLost(1.0, "usb"),
    events.DeviceRestored(2.0, "usb"),
    events.Stalled(2.0, 10.0),
    events.Warned(2.0, "clipped"),
    events.SessionEnded(9.0, 3, "end of file"),
]


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: event.wire_name())
def test_round_trip(event: events.Event) -> None:
    assert events.from_json(event.to_json()) == event


def test_words_survive_the_wire() -> None:
    words = (events.Word("hello,", 0.5, 1.25, 0.75), events.Word("world", 1.25, 2.0, 0.123))
    final = events.Final(1, 0.5, 2.0, "hello, world", words=words, confidence=0.5)
    assert events.from_json(final.to_json()) == final
    moved = final.moved(7, 10.0)
    assert (moved.id, moved.start_s, moved.words[1].start_s) == (7, 10.5, 11.25)
    assert moved.words[1].text == "world" and moved.text == final.text


def test_words_are_written_only_if_asked_for() -> None:
    data = events.Final(1, 0.5, 2.0, "hello").to_dict()
    assert "words" not in data and "confidence" not in data
    nothing = events.Final(1, 0.5, 2.0, "", confidence=0.0).to_dict()
    assert nothing["words"] == [] and nothing["confidence"] == 0.0


def test_every_event_has_an_example() -> None:
    assert {event.wire_name() for event in EXAMPLES} == set(events.Event.registry)


def test_seconds_are_rounded_to_milliseconds() -> None:
    assert json.loads(events.SpeechStarted(1, 0.12345).to_json())["start_s"] == 0.123


def test_unknown_type_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="speech-started"):
        events.from_json('{"type": "sneeze"}')


def test_unknown_fields_are_ignored() -> None:
    line = '{"type": "speech-started", "id": 1, "start_s": 0, "new": true}'
    assert events.from_json(line) == events.SpeechStarted(1, 0)
    word = '{"text": "a", "start_s": 0, "end_s": 1, "new": true}'
    line = f'{{"type": "final", "id": 1, "start_s": 0, "end_s": 1, "text": "a", "words": [{word}]}}'
    assert events.from_json(line) == events.Final(1, 0, 1, "a", words=(events.Word("a", 0, 1),))


@pytest.mark.parametrize(
    "line",
    [
        *("", "{", "3", "null", "[]", '"final"', "{}", '{"type": 3}', '{"type": ["final"]}'),
        *('{"type": "final"}', '{"type": "final", "words": 3}', "[" * 100_000, "9" * 5000),
        '{"type": "final", "id": 1, "start_s": 0, "end_s": 1, "text": "a", "words": [{}]}',
    ],
    ids=lambda line: line[:30],
)
def test_what_is_no_event_is_a_value_error(line: str) -> None:
    with pytest.raises(ValueError):
        events.from_json(line)
