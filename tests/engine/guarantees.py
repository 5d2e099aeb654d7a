"""The written guarantees of events.py as one check over what a session told."""

from __future__ import annotations

from collections.abc import Sequence

from edge_audiokv.events import NO_WORDS, Event, Final, Partial, SessionEnded, SpeechStarted


def check_guarantees(events: Sequence[Event]) -> None:
    """Fails where a promise is broken. `events` is all that was told, from start to end."""
    *before, last = events
    assert isinstance(last, SessionEnded), last
    assert not any(isinstance(event, SessionEnded) for event in before)
    open_id: int | None = None
    latest_id, start_s, end_s, free_s, clock_s = -1, 0.0, 0.0, 0.0, 0.0
    n_finals = 0
    for event in before:
        match event:
            case SpeechStarted():
                assert open_id is None, "one segment at a time"
                assert event.id > latest_id, "an id starts once"
                assert event.start_s >= free_s, "segments do not overlap"
                open_id = latest_id = event.id
                start_s = end_s = event.start_s
            case Partial():
                assert event.id == open_id, "partials belong to the open segment"
                assert event.start_s == start_s and event.end_s >= end_s
                assert event.text.startswith(event.stable)
                end_s = event.end_s
            case Final():
                assert event.id == open_id, "one final for each that started, nothing after it"
                assert event.start_s == start_s <= event.end_s
                open_id, free_s = None, event.end_s
                n_finals += bool(event.text.strip())
                assert (NO_WORDS in event.flags) == (not event.text.strip())
            case _:
                time_s = getattr(event, "time_s", clock_s)
                assert time_s >= clock_s
                clock_s = time_s
    assert open_id is None, "everything that started has its final"
    assert last.segments == n_finals and last.time_s >= max(free_s, clock_s)
