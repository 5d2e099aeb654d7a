"""What a session does with sound, told by a scripted model: order, retries, bounds."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_audiokv.engine.hearing import Hearing, spoken_question
from edge_audiokv.errors import InputError
from edge_audiokv.events import (
    NO_WORDS,
    Answer,
    Event,
    Evicted,
    Final,
    Partial,
    SessionEnded,
    Warned,
)

from .guarantees import check_guarantees
from .scripted import Script, scripted_hearing, silence, speech

LOOP = "no more " * 20


def hear(hearing: Hearing, *pieces: np.ndarray, live: bool = False) -> list[Event]:
    events = [event for piece in pieces for event in hearing.take(piece, live=live)]
    return [*events, *hearing.flush()]


def finals(events: list[Event]) -> list[Final]:
    return [event for event in events if isinstance(event, Final)]


@settings(max_examples=40, deadline=None)
@given(
    stretches=st.lists(st.tuples(st.booleans(), st.floats(0.05, 7)), min_size=1, max_size=6),
    blocks=st.lists(st.integers(100, 20_000), min_size=1, max_size=10),
    live=st.booleans(),
    context=st.sampled_from(["fresh", "rolling"]),
)
def test_every_guarantee_holds_for_any_sound_in_any_pieces(stretches, blocks, live, context):
    hearing = scripted_hearing(Script("some words"), context=context, report_interval_s=1.0)
    sound = np.concatenate([speech(s) if loud else silence(s) for loud, s in stretches])
    events: list[Event] = []
    start, turn = 0, 0
    while start < len(sound):
        size = blocks[turn % len(blocks)]
        events += hearing.take(sound[start : start + size], live=live)
        start, turn = start + size, turn + 1
    events += hearing.flush()
    check_guarantees([*events, SessionEnded(hearing.clock_s, hearing.n_segments, "end")])


def test_no_partials_are_told_when_none_are_wanted():
    hearing = scripted_hearing(Script("hello"), partial_interval_s=0.0)
    events = hear(hearing, speech(3), silence(2), live=True)
    assert len(finals(events)) == 1
    assert not any(isinstance(event, Partial) for event in events)


def test_a_pause_is_worked_on_before_it_ends_the_segment():
    hearing = scripted_hearing(Script("hello"))
    events = hear(hearing, speech(0.6), silence(2), live=True)
    assert [type(event).__name__ for event in events] == ["SpeechStarted", "Partial", "Final"]


def test_it_may_be_told_to_cut_and_draft_otherwise_between_segments():
    hearing = scripted_hearing(Script("hello"), partial_interval_s=0.0)
    first = hear(hearing, speech(2), silence(2), live=True)
    endpoint = replace(hearing.settings.endpoint, silence_duration_ms=1500)
    hearing.adjust(replace(hearing.settings, partial_interval_s=0.5, endpoint=endpoint))
    # The gap no longer ends it, and there are partials.
    second = hear(hearing, speech(1.5), silence(0.9), speech(1.5), silence(2), live=True)
    assert len(finals(first)) == len(finals(second)) == 1
    assert not any(isinstance(event, Partial) for event in first)
    assert any(isinstance(event, Partial) for event in second)
    check_guarantees([*first, *second, SessionEnded(hearing.clock_s, hearing.n_segments, "end")])


def test_a_final_without_words_says_so_and_is_no_segment_that_is_counted():
    hearing = scripted_hearing(Script(""))
    (mute,) = finals(hear(hearing, speech(2), silence(2), live=False))
    assert (mute.text, mute.flags, hearing.n_segments) == ("", (NO_WORDS,), 0)
    hearing = scripted_hearing(Script("hello"))
    (final,) = finals(hear(hearing, speech(2), silence(2), live=False))
    assert (final.flags, hearing.n_segments) == ((), 1)


def test_partials_may_come_less_often_in_the_middle_of_a_segment():
    hearing = scripted_hearing(Script("hello"), max_segment_s=20.0, partial_interval_s=0.5)
    often = [*hearing.take(speech(4), live=True)]
    hearing.pace(2.0)
    seldom = [*hearing.take(speech(4), live=True)]
    hearing.pace(0.0)
    never = [*hearing.take(speech(4), live=True)]
    n_often, n_seldom, n_never = (
        sum(isinstance(event, Partial) for event in events) for events in (often, seldom, never)
    )
    assert n_often > n_seldom > n_never == 0


def test_what_is_open_must_end_before_it_is_cut_otherwise():
    hearing = scripted_hearing(Script("hello"))
    for _ in hearing.take(speech(2), live=False):
        pass
    with pytest.raises(InputError, match="open"):
        hearing.adjust(hearing.settings)
    hearing.abandon()
    hearing.adjust(hearing.settings)
    longer = replace(hearing.settings.endpoint, max_segment_s=29.0)
    with pytest.raises(InputError, match="at most"):
        hearing.adjust(replace(hearing.settings, endpoint=longer))


def test_partials_do_not_begin_in_a_pause():
    # Words of 0.5 s with gaps too short to end them: partials come while somebody speaks.
    hearing = scripted_hearing(Script("hello"), partial_interval_s=0.1)
    sound = np.concatenate([np.concatenate([speech(0.5), silence(0.15)]) for _ in range(5)])
    blocks = np.split(sound, range(1600, len(sound), 1600))
    partials = 0
    for block in blocks:
        events = [*hearing.take(block, live=True)]
        told = sum(isinstance(event, Partial) for event in events)
        assert not (told and hearing.endpointer.in_pause)
        partials += told
    assert partials > 5


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("block", [1600, 40_000])
def test_a_turn_is_taken_over_before_the_next_is_decoded(live, block):
    # Cut at the gap when 5 s are full: the rest is open, and soon drafted in the same cache.
    hearing = scripted_hearing(Script("words"))
    sound = np.concatenate([speech(3), silence(0.2), speech(4.7), silence(0.2), speech(3)])
    blocks = np.split(sound, range(block, len(sound), block))
    events = [event for part in blocks for event in hearing.take(part, live=live)]
    events += hearing.flush()
    cache = hearing.caches.memory
    assert cache.n_adopted == len(finals(events)) >= 3
    assert cache.text.count("<a>words</a>") == cache.n_adopted
    assert not live or any(isinstance(event, Partial) for event in events)


@pytest.mark.parametrize("line", ["words", LOOP, ""])
@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("context", ["fresh", "rolling"])
def test_the_memory_holds_every_turn_as_it_was_told(line, live, context):
    hearing = scripted_hearing(Script(line), context=context)
    parts = [part for _ in range(4) for part in (speech(2), silence(2))]
    events = [event for part in parts for event in hear(hearing, part, live=live)]
    texts = [event.text for event in finals(events)]
    assert len(texts) == 4
    cache = hearing.caches.memory
    held = "".join(cache.text.split())
    turns = [f"<u>Transcribetheaudio.</u><a>{text}</a>" for text in texts]
    assert held == "".join("".join(turn.split()) for turn in turns)
    # What was decoded alone is not read a second time.
    assert cache.n_adopted == (4 if context == "fresh" or line == LOOP else 0)


def test_a_turn_that_lost_rows_is_read_again():
    hearing = scripted_hearing(Script("words"))
    hearing.caches.memory.can_adopt = lambda turn: False
    hear(hearing, speech(2), silence(2))
    assert hearing.caches.memory.n_adopted == 0
    assert hearing.caches.memory.text.endswith("<a>words</a>")


def test_a_loop_in_rolling_context_is_said_again_without_it():
    hearing = scripted_hearing(Script("good text"), Script(LOOP), context="rolling")
    events = hear(hearing, speech(2), silence(1))
    assert [(event.text, event.flags) for event in finals(events)] == [
        ("good text", ("loop", "retried"))
    ]
    # The memory holds the turn as it was told: the same as one that went well at once.
    smooth = scripted_hearing(Script("good text"), context="rolling")
    hear(smooth, speech(2), silence(1))
    assert hearing.caches.memory.next_position == smooth.caches.memory.next_position


def test_a_loop_that_stays_is_cut_and_flagged():
    hearing = scripted_hearing(Script(LOOP), context="rolling")
    (final,) = finals(hear(hearing, speech(2), silence(1)))
    assert final.flags == ("loop", "retried", "cut")
    assert len(final.text) < len("no more ") * 3


@pytest.mark.parametrize("context", ["fresh", "rolling"])
def test_a_cut_is_told_once_and_a_loop_that_was_mended_is_not(context: str) -> None:
    hearing = scripted_hearing(Script(LOOP, "good text"), context=context)
    events = hear(hearing, speech(2), silence(1), speech(2), silence(1))
    told = [event for event in events if isinstance(event, Warned)]
    flagged = [final for final in finals(events) if final.flags]
    assert len(flagged) == 1
    # In rolling context the second try, alone, was good.
    assert len(told) == (1 if context == "fresh" else 0)
    assert all("words may be missing" in event.message for event in told)


def test_an_interrupted_turn_leaves_nothing_behind(monkeypatch):
    hearing = scripted_hearing(Script("good text"), context="rolling")
    whole = hearing.caches.memory.append_embeddings

    def interrupted(embeddings: np.ndarray) -> None:
        whole(embeddings)
        raise KeyboardInterrupt

    hear(hearing, speech(1), silence(1))
    position = hearing.caches.memory.next_position
    monkeypatch.setattr(hearing.caches.memory, "append_embeddings", interrupted)
    with pytest.raises(KeyboardInterrupt):
        hear(hearing, speech(1), silence(1))
    monkeypatch.setattr(hearing.caches.memory, "append_embeddings", whole)
    hearing.abandon()
    hear(hearing, speech(1), silence(1))
    assert hearing.caches.memory.next_position == 2 * position


def test_text_is_told_before_it_is_remembered_and_a_question_sees_it():
    hearing = scripted_hearing(Script("words"))
    events = hearing.take(np.concatenate([speech(1), silence(1)]), live=False)
    while not isinstance(next(events), Final):
        pass
    assert hearing.caches.memory.next_position == 0
    hearing.ask("what?")
    position = hearing.caches.memory.next_position
    assert position > 0
    assert [*events] == [] and hearing.caches.memory.next_position == position


def test_a_spoken_question_is_answered():
    hearing = scripted_hearing(Script("Computer, what was that"), wake_word="computer")
    (answer,) = (e for e in hear(hearing, speech(1), silence(1)) if isinstance(e, Answer))
    assert answer.question == "what was that"


def test_a_spoken_question_that_is_too_long_is_a_warning_not_the_end():
    long = " ".join(str(number) for number in range(100, 130))
    hearing = scripted_hearing(Script("computer " + long), wake_word="computer", max_segment_s=15.0)
    events = hear(hearing, speech(14), silence(1))
    assert any(isinstance(event, Warned) and "96" in event.message for event in events)


@pytest.mark.parametrize(
    ("text", "wake_word", "question"),
    [
        ("Computer, what is it?", "computer", "what is it?"),
        ("hey you: go on", "Hey You", "go on"),
        ("my computer is old", "computer", ""),
        ("computer", "computer", ""),
        ("anything", "", ""),
    ],
)
def test_wake_words(text, wake_word, question):
    assert spoken_question(text, wake_word) == question


@pytest.mark.parametrize("placement", ["order", "log", "drop"])
def test_positions_move_down_before_the_trained_context_ends(placement):
    hearing = scripted_hearing(Script("some words"), context="rolling", placement=placement)
    for _ in range(100):
        hear(hearing, speech(1), silence(1))
        memory = hearing.caches.memory
        assert memory.next_position + hearing.memory.reserve_tokens <= 2048
    assert memory.stats.shifts > 3


def test_evictions_are_told():
    hearing = scripted_hearing(Script("some words"), context="rolling", n_rows=600)
    events = [event for _ in range(30) for event in hear(hearing, speech(1), silence(1))]
    freed = sum(event.freed_rows for event in events if isinstance(event, Evicted))
    assert 0 < freed <= hearing.caches.memory.stats.freed_rows


@pytest.mark.parametrize("context", ["fresh", "rolling"])
def test_nothing_grows_with_the_number_of_segments(context):
    hearing = scripted_hearing(
        Script("some words"), context=context, n_rows=600, wake_word="some", report_interval_s=1.0
    )
    sound = np.concatenate([speech(0.8), silence(0.8)])

    def hear_segments(count: int) -> None:
        for _ in range(count):
            for event in hearing.take(sound, live=True):
                assert event is not None
            hearing.ask("what?")

    hear_segments(60)  # caches of Python and numpy are warm
    tracemalloc.start()
    try:
        hear_segments(20)
        before = tracemalloc.get_traced_memory()[0]
        hear_segments(300)
        grown_bytes = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert hearing.n_segments >= 370
    # One kept object a segment, of the smallest kind, would be 300 * 48 bytes and more.
    assert grown_bytes < 10_000
