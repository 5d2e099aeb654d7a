"""A question brings back turns that share its words, however long ago they were said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_audiokv.archive.recording import Recording
from edge_audiokv.archive.turn import Turn
from edge_audiokv.engine.hearing import Hearing
from edge_audiokv.engine.memory.rolling import MAX_REMINDER_TOKENS
from edge_audiokv.engine.recall.recall import MOST_TURNS
from edge_audiokv.engine.recall.sources import sources_of
from edge_audiokv.errors import ArchiveError
from edge_audiokv.events import Answer, Final
from tests.engine.scripted import Script, scripted_hearing, silence, speech

QUESTION = "What is the code?"


@pytest.fixture
def recording() -> Iterator[Recording]:
    with Recording(None) as opened:
        yield opened


def hear(hearing: Hearing) -> Final:
    events = [*hearing.take(speech(1), live=False), *hearing.take(silence(1), live=False)]
    (final,) = [event for event in events if isinstance(event, Final)]
    return final


def told(hearing: Hearing, question: str = QUESTION) -> tuple[Answer, str]:
    """The answer, and what the memory read for it beside what it held."""
    cache, seen = hearing.caches.memory, []
    before = cache.text

    def look(text: str) -> None:
        seen.append(cache.text[len(before) :])

    answer = hearing.ask(question, on_text=look)
    assert cache.text == before
    return answer, seen[0]


def test_a_question_is_read_with_a_capital_however_it_is_typed(recording: Recording) -> None:
    hearing = scripted_hearing(Script("the code is four two"), Script("42"), recording=recording)
    hear(hearing)
    typed, read = told(hearing, "what is the code?")
    assert typed.question == "what is the code?"
    assert QUESTION in read and typed.question not in read


def test_what_the_cache_has_lost_is_read_again(recording: Recording) -> None:
    said = Script("the code is four two", "other words")
    hearing = scripted_hearing(said, Script("42"), recording=recording)
    code = hear(hearing)
    answer, read = told(hearing)
    assert [source.in_cache for source in answer.sources] == [True]
    while "four two" in hearing.caches.memory.text:
        hear(hearing)
    answer, read = told(hearing)
    assert "the code is four two" in read and read.index("four two") < read.index(QUESTION)
    (source,) = answer.sources
    assert (source.start_s, source.end_s, source.text) == (code.start_s, code.end_s, code.text)
    assert not source.in_cache


def test_turns_stand_in_the_order_in_which_they_were_said(recording: Recording) -> None:
    said = ("the boat leaves", "nothing", "a boat, a boat", "nothing more")
    hearing = scripted_hearing(Script(*said), Script("boat"), recording=recording)
    for _ in said:
        hear(hearing)
    answer, read = told(hearing, "Where is the boat?")
    assert [source.text for source in answer.sources] == [said[0], said[2]]
    assert read.index(said[0]) < read.index(said[2])


def test_a_question_about_a_time_brings_back_what_was_said_then(recording: Recording) -> None:
    hearing = scripted_hearing(Script("one", "two", "three"), Script("two"), recording=recording)
    for _ in range(3):
        hear(hearing)
        list(hearing.take(silence(60), live=False))
    for question in ("What was said at 00:01:02?", "What was said 2 minutes ago?"):
        _, read = told(hearing, question)
        assert "two" in read and "one" not in read and "three" not in read


def test_a_question_about_the_beginning_brings_back_the_first_turn(recording: Recording) -> None:
    hearing = scripted_hearing(Script("one", "two", "three"), Script("one"), recording=recording)
    for _ in range(3):
        hear(hearing)
    answer, read = told(hearing, "What was said first?")
    assert read.count("one<") == 2 and "two" not in read and "three" not in read
    assert [source.text for source in answer.sources] == ["one"]


def test_the_best_turn_is_read_again_at_the_end(recording: Recording) -> None:
    said = ("the code is four two", "nothing", "a code two", "nothing", "nothing more", "nothing")
    hearing = scripted_hearing(Script(*said), Script("42"), recording=recording)
    for _ in said:
        hear(hearing)
    _, read = told(hearing, "What is the code, is it four two?")
    assert (read.count("the code is four two"), read.count("a code two")) == (2, 1)
    assert read.rindex("four two<") > read.index("a code two") > read.index("four two<")


def test_what_fits_the_question_much_worse_is_left_out(recording: Recording) -> None:
    said = ("the code of the kitchen is four two", "the code of the garage is one")
    hearing = scripted_hearing(Script("nothing"), Script("42"), recording=recording)
    hear(hearing)
    for number, words in enumerate([*said, *["nothing"] * 20]):
        recording.keep(Final(number, number + 2.0, number + 3.0, words))
    _, read = told(hearing, "What is the code of the kitchen?")
    assert read.count("kitchen is four two") == 2 and "garage" not in read
    # Where none fits better than the others, all are read.
    _, read = told(hearing, "What is the code?")
    assert "four two" in read and "garage is one" in read


def test_what_is_brought_back_is_read_without_a_view_of_the_memory(recording: Recording) -> None:
    hearing = scripted_hearing(Script("the code is four two"), Script("42"), recording=recording)
    memory, scratch = hearing.caches.memory, hearing.caches.scratch
    hear(hearing)
    n_adopted = memory.n_adopted
    _, read = told(hearing)
    assert memory.n_adopted == n_adopted + 1 and read.count("the code is four two") == 2
    # Without room for it there, or where rows cannot move, the memory reads it itself.
    scratch.n_rows = 60
    assert told(hearing)[1] == read
    scratch.n_rows, memory.can_adopt = 4096, lambda turn: False
    assert told(hearing)[1] == read
    assert memory.n_adopted == n_adopted + 1


def test_what_fits_once_is_read_once(recording: Recording) -> None:
    hearing = scripted_hearing(Script("nothing"), recording=recording)
    hear(hearing)
    text = "code " * (MAX_REMINDER_TOKENS // 5 - 10)
    recording.keep(Final(1, 2.0, 3.0, text.strip()))
    _, read = told(hearing)
    assert read.count(text.strip()) == 1 and len(text) > MAX_REMINDER_TOKENS / 2


def test_no_more_is_brought_back_than_there_is_room_for(recording: Recording) -> None:
    hearing = scripted_hearing(Script("code"), recording=recording)
    hear(hearing)
    for number in range(9):
        text = f"the secret code that we were given at noon was never used by us {number}"
        recording.keep(Final(number, 2.0 + number, 3.0 + number, text))
    answer, read = told(hearing)
    assert 0 < len(answer.sources) < MOST_TURNS
    assert len(read) <= MAX_REMINDER_TOKENS + len(f"<u>{QUESTION}</u><a>")


def test_what_was_not_said_brings_nothing_back(recording: Recording) -> None:
    hearing = scripted_hearing(Script("some words"), recording=recording)
    hear(hearing)
    answer, read = told(hearing, "Where is the boat?")
    assert answer.sources == () and "some words" not in read


def test_an_archive_that_fails_costs_the_recall_alone(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    hearing = scripted_hearing(Script("the code is one"), recording=recording)
    hear(hearing)

    def fail(*_: object, **__: object) -> None:
        raise ArchiveError("damaged.")

    monkeypatch.setattr(recording.archive, "search", fail)
    answer, _ = told(hearing)
    assert (answer.text, answer.sources) == ("the code is one", ())


def test_memory_alone_keeps_one_session_until_it_is_told_to_forget(recording: Recording) -> None:
    recording.keep(Final(0, 1.0, 2.0, "the boat leaves"))
    recording.begin("another file")
    recording.keep(Final(1, 3.0, 4.0, "a boat comes"))
    assert [turn.start_s for turn in recording.find("boat", limit=9)] == [1.0, 3.0]
    recording.forget()
    assert recording.find("boat", limit=9) == []
    recording.keep(Final(2, 0.0, 1.0, "the last boat"))
    assert [turn.text for turn in recording.find("boat", limit=9)] == ["the last boat"]


def test_of_a_file_the_present_session_alone_is_found(tmp_path: Path) -> None:
    for words in ("an old boat", "a new boat"):
        with Recording(tmp_path / "talks.archive") as recording:
            recording.begin("microphone")
            recording.keep(Final(0, 1.0, 2.0, words))
            assert [turn.text for turn in recording.find("boat", limit=9)] == [words]


@pytest.mark.parametrize(
    ("answer", "n_sources"), [("It was 42.", 1), ("a boat", 1), ("a train", 0), ("yes", 2), ("", 2)]
)
def test_sources_bear_the_answer_out(answer: str, n_sources: int) -> None:
    turns = [
        Turn(1, 1, 0.0, 1.0, "the code is four two", 0.0),
        Turn(2, 1, 5.0, 6.0, "the boat is here", 5.0),
    ]
    assert len(sources_of(answer, turns, since_s=3.0)) == n_sources


def test_a_turn_that_shares_a_word_by_chance_is_no_source() -> None:
    turns = [
        Turn(1, 1, 2.0, 9.0, "This little work was finished in the year 1803.", 0.0),
        Turn(2, 1, 14.0, 25.0, "Some observation upon those parts of the work is necessary.", 0.0),
    ]
    (source,) = sources_of("this little work was finished in the year", turns, since_s=0.0)
    assert source.start_s == 2.0
