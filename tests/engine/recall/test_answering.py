"""An answer is held against what the model would say without having heard anything."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from edge_audiokv.archive.recording import Recording
from edge_audiokv.archive.turn import Turn
from edge_audiokv.engine.hearing import Hearing
from edge_audiokv.engine.recall.evidence import (
    MOST_WEIGHED_TOKENS,
    NOT_HEARD,
    Weighing,
    confidence_of,
    evidence_of,
)
from edge_audiokv.engine.recall.sources import is_one_of_many
from edge_audiokv.events import Final
from tests.engine.scripted import Script, scripted_hearing, silence, speech


@pytest.fixture
def recording() -> Iterator[Recording]:
    with Recording(None) as opened:
        yield opened


def heard(answer: str, recording: Recording | None = None, **options: float) -> Hearing:
    said = Script("the code is four two", answer)
    hearing = scripted_hearing(said, Script(answer), recording=recording, **options)  # type: ignore[arg-type]
    list(hearing.take(speech(1), live=False))
    list(hearing.take(silence(1), live=False))
    return hearing


def without_sound(hearing: Hearing, chance: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model gives every token of an answer `chance` where it heard nothing."""
    monkeypatch.setattr(
        hearing.recognizer, "unheard", lambda prompt, ids: [float(np.log(chance))] * len(ids)
    )


def test_what_the_model_says_anyway_is_withheld() -> None:
    # Without a memory the script says the same.
    hearing, grown = heard("12345", least_evidence=0.5), list[str]()
    before = hearing.caches.memory.text
    answer = hearing.ask("What is the code?", on_text=grown.append)
    assert (answer.text, answer.declined, answer.heard) == (NOT_HEARD, True, True)
    assert answer.evidence == pytest.approx(0.0) and answer.sources == ()
    assert grown == [NOT_HEARD]
    assert hearing.caches.memory.text == before
    # What weighs it is empty again, and the next segment is heard.
    assert hearing.caches.scratch.next_position == 0
    list(hearing.take(speech(1), live=False))
    assert [*hearing.take(silence(1), live=False)]


def test_what_rests_on_the_memory_is_given_and_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    hearing, grown = heard("42", least_evidence=0.5), list[str]()
    without_sound(hearing, 1e-6, monkeypatch)
    answer = hearing.ask("What is the code?", on_text=grown.append)
    assert (answer.text, answer.declined) == ("42", False)
    assert answer.evidence is not None and answer.evidence > 5
    assert grown == ["4", "42"]


def test_a_yes_cannot_be_weighed() -> None:
    answer = heard("Yes.", least_evidence=0.5).ask("Is there a code?")
    assert (answer.text, answer.declined, answer.evidence) == ("Yes.", False, None)


def test_a_model_that_states_no_bound_is_not_weighed() -> None:
    answer = heard("12345").ask("What is the code?")
    assert (answer.text, answer.declined, answer.evidence) == ("12345", False, None)


def test_the_sentence_of_a_word_that_nobody_said_is_not_given(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    hearing = heard("the code is four two", recording, least_evidence=0.5)
    without_sound(hearing, 1e-6, monkeypatch)
    assert hearing.ask('Repeat the sentence with the word "boat".').declined
    assert not hearing.ask('Repeat the sentence with the word "code".').declined


CODES = ("the code of the kitchen is four two", "the code of the garage is two one")


@pytest.mark.parametrize(
    ("question", "alone", "in_all", "given"),
    [
        # One turn fits: it is read alone, and the memory if that does not answer.
        ("What is the code of the kitchen?", "four two", "other words", "four two"),
        ("What is the code of the kitchen?", "42", "other words", "42"),
        ("What is the code of the kitchen?", "two one", "four two", "four two"),
        ("What is the code of the kitchen?", "two one", "two one", NOT_HEARD),
        # A part of the number is another number.
        ("What is the code of the kitchen?", "four", "four two", "four two"),
        ("What is the code of the kitchen?", "a boat", "a boat", NOT_HEARD),
        ("Is there a code of the kitchen?", "yes", "yes", "yes"),
        # Several do: the memory is asked, and the best of them if that gives what none holds.
        ("What is the code?", "four two", "two one", "two one"),
        ("What is the code?", "four two", "other words", "four two"),
        ("What is the code?", "a boat", "other words", NOT_HEARD),
        ("What is the code?", "four two", "yes", "yes"),
        # Of a place that was not heard, every code would do.
        ("What is the code of the cellar?", "four two", "two one", NOT_HEARD),
        ("What is the code of the cellar?", "two one", "other words", NOT_HEARD),
        ("Is there a code of the cellar?", "two one", "yes", "yes"),
    ],
)
def test_an_answer_is_held_against_the_turns_that_are_asked_about(
    recording: Recording,
    monkeypatch: pytest.MonkeyPatch,
    question: str,
    alone: str,
    in_all: str,
    given: str,
) -> None:
    said, grown = Script("nothing", alone), list[str]()
    hearing = scripted_hearing(said, Script(in_all), recording=recording, least_evidence=0.5)
    list(hearing.take(speech(1), live=False))
    list(hearing.take(silence(1), live=False))
    for number, words in enumerate([*CODES, *["nothing"] * 20]):
        recording.keep(Final(number, number + 2.0, number + 3.0, words))
    without_sound(hearing, 1e-6, monkeypatch)
    before = hearing.caches.memory.text
    answer = hearing.ask(question, on_text=grown.append)
    assert (answer.text, answer.declined, grown[-1]) == (given, given == NOT_HEARD, given)
    assert bool(answer.sources) is not answer.declined
    assert hearing.caches.memory.text == before
    assert hearing.caches.scratch.next_position == 0


@pytest.mark.parametrize(
    ("order", "answer", "given"),
    [
        # The archive knows, whatever the model would say.
        (("a boat at sea", "a ship"), "ship", "boat"),
        (("a ship", "a boat at sea", "a ship"), "boat", "ship"),
        (("nothing", "a ship"), "a train", "ship"),
        (("nothing", "nothing"), "boat", NOT_HEARD),
        # Of one turn with both the model must tell.
        (("a boat and a ship",), "a boat", "a boat"),
        (("a boat and a ship",), "a train", NOT_HEARD),
    ],
)
def test_which_of_two_words_was_said_first(
    recording: Recording,
    monkeypatch: pytest.MonkeyPatch,
    order: tuple[str, ...],
    answer: str,
    given: str,
) -> None:
    said = Script("nothing", answer)
    hearing = scripted_hearing(said, Script(answer), recording=recording, least_evidence=0.5)
    list(hearing.take(speech(1), live=False))
    list(hearing.take(silence(1), live=False))
    for number, words in enumerate([*order, *["nothing"] * 20]):
        recording.keep(Final(number, number + 2.0, number + 3.0, words))
    without_sound(hearing, 1e-6, monkeypatch)
    seen: list[str] = []
    got = hearing.ask('Which word was said earlier, "boat" or "ship"?', on_text=seen.append)
    assert (got.text, got.declined, seen[-1]) == (given, given == NOT_HEARD, given)
    assert [source.text for source in got.sources] == (
        [] if got.declined else [next(words for words in order if words != "nothing")]
    )


TURNS = ("they came into the harbour at night", "the captain of the ship was a man named drake")


@pytest.mark.parametrize(
    ("question", "answer", "pause_s", "given"),
    [
        # What is spoken of may be told after a pause, and then both turns are the source.
        ("Who came into the harbour?", "captain drake", 1.0, "captain drake"),
        ("Who came into the harbour?", "captain drake", 9.0, NOT_HEARD),
        ("Who came into the harbour?", "the mayor", 1.0, NOT_HEARD),
        # Of a sentence that is asked for by a word of it there is nothing more to tell.
        ('Repeat the sentence with the word "harbour".', "captain drake", 1.0, NOT_HEARD),
    ],
)
def test_what_the_best_turn_does_not_tell_the_next_may(
    recording: Recording,
    monkeypatch: pytest.MonkeyPatch,
    question: str,
    answer: str,
    pause_s: float,
    given: str,
) -> None:
    said = Script("nothing", answer)
    hearing = scripted_hearing(said, Script("a boat"), recording=recording, least_evidence=0.5)
    list(hearing.take(speech(1), live=False))
    list(hearing.take(silence(1), live=False))
    start_s = 100.0
    for words in [*TURNS, *["nothing"] * 20]:
        recording.keep(Final(0, start_s, start_s + 2, words))
        start_s += 2 + pause_s
    without_sound(hearing, 1e-6, monkeypatch)
    got = hearing.ask(question)
    assert got.text == given
    told = [(source.start_s, source.end_s, source.text) for source in got.sources]
    both = [(100.0, 104.0 + pause_s, " ".join(TURNS))]
    assert told == ([] if given == NOT_HEARD else both)
    assert hearing.caches.scratch.next_position == 0


@pytest.mark.parametrize(
    ("sought", "turns", "many"),
    [
        ("code cellar", ["the code is 42", "the code is four two"], False),
        ("code cellar", ["the code is 42", "the code is 21"], True),
        ("code cellar", ["the code is 42", "the code is 213, one of two"], False),
        ("code cellar", ["the code of the cellar is 42", "the code is 21"], False),
        ("code old cellar", ["the code of the cellar is 42", "the code is 21"], False),
        ("code", ["the code is 42", "the code is 21"], False),
        # Heard as something like it.
        ("code cellar", ["the code of the seller is 42", "the code of the hall is 21"], False),
        ("code cellar", ["the code of the hall is 42", "the code of the seller is 21"], True),
        ("code cellar", ["the code of the seller is 42", "the code of the cella is 21"], True),
    ],
)
def test_a_number_is_one_of_many(sought: str, turns: list[str], many: bool) -> None:
    said = [Turn(i, 1, i, i + 1.0, text, float(i)) for i, text in enumerate(turns)]
    assert is_one_of_many("four two", sought, said) is many


def test_a_turn_that_was_said_last_may_stand_in_for_none(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    hearing = heard("two one", recording, least_evidence=0.5)
    without_sound(hearing, 1e-6, monkeypatch)
    # A digit of another number bears nothing out.
    assert hearing.ask("What is the code?").declined


def test_a_turn_that_does_not_fit_beside_its_answer_is_not_read_alone(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = Script("the code is four two", "four two")
    hearing = scripted_hearing(said, Script("other words"), recording=recording, least_evidence=0.5)
    list(hearing.take(speech(1), live=False))
    list(hearing.take(silence(1), live=False))
    without_sound(hearing, 1e-6, monkeypatch)
    hearing.caches.scratch.n_rows = 100  # type: ignore[attr-defined]
    answer = hearing.ask("What is the code?")
    assert (answer.text, answer.sources) == ("other words", ())


def test_evidence_and_confidence() -> None:
    weighing = Weighing()
    logits = np.array([0.0, 3.0, 1.0], np.float32)
    for _ in range(MOST_WEIGHED_TOKENS + 3):
        weighing.push(weighing.pick(logits))
    assert len(weighing.chances) == MOST_WEIGHED_TOKENS
    chance = np.exp(3.0) / np.exp(logits.astype(np.float64)).sum()
    assert confidence_of(weighing.chances) == pytest.approx(chance)
    assert evidence_of([-0.1, -0.3], [-1.1, -2.3]) == pytest.approx(1.5)
    assert (evidence_of([], []), confidence_of([])) == (0.0, 0.0)
