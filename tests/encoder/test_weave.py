"""Words that were read, laid over words that were heard row by row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_audiokv.encoder.reading import Step, word_of
from edge_audiokv.encoder.sound import Sound
from edge_audiokv.encoder.weave import Spot, spots, weave

HEARD = (" the", " cat", " hat", "s")
READ = ("", " the", " cat", " castle", "s")
WORDS = (*HEARD, *READ)
NAMES = {word: at for at, word in reversed(list(enumerate(WORDS)))}


def sound(*rows: dict[int, float]) -> Sound:
    words = np.array([[*row, *[0] * (2 - len(row))] for row in rows], np.int32)
    beliefs = np.array([[*row.values(), *[0.0] * (2 - len(row))] for row in rows], np.float32)
    return Sound(np.arange(len(rows) * 3, dtype=np.float32).reshape(-1, 3), words, beliefs)


def said(woven: Sound, row: int) -> dict[str, float]:
    pairs = zip(woven.words[row].tolist(), woven.beliefs[row].tolist(), strict=True)
    return {WORDS[word]: belief for word, belief in pairs if belief > 0}


def spot(text: str, first: int, last: int, belief: float = 0.9) -> Spot:
    return Spot({text: belief}, first, last, belief)


SPOKEN = sound({0: 0.9}, {}, {2: 0.7, 1: 0.2}, {}, {}, {})


def test_a_word_that_both_name_stands_where_it_was_heard() -> None:
    woven = weave(SPOKEN, HEARD, [spot(" the", 1, 2)], NAMES, share=0.5)
    assert said(woven, 0) == {" the": pytest.approx(0.9)}
    assert woven.in_order and woven.embeddings is SPOKEN.embeddings
    assert said(woven, 2) == {" hat": pytest.approx(0.35), " cat": pytest.approx(0.1)}


def test_a_word_that_only_one_names_shares_its_belief() -> None:
    read = [spot(" the", 0, 0), spot(" castle", 2, 2), spot("s", 4, 4)]
    woven = weave(SPOKEN, HEARD, read, NAMES, share=0.75)
    expected = {" castle": 0.675, " hat": 0.175, " cat": 0.05}
    assert said(woven, 2) == {text: pytest.approx(p) for text, p in expected.items()}
    assert list(said(woven, 4)) == ["s"]


def test_what_is_far_from_all_that_was_read_is_as_it_was_heard() -> None:
    rounds = sound(*[{0: 0.9}, {}, {1: 0.8}, {}] * 8)
    woven = weave(rounds, HEARD, [spot(" the", 1, 1), spot(" castle", 2, 2)], NAMES, share=1.0)
    assert said(woven, 4) == {} and said(woven, 2) == {" castle": pytest.approx(0.9)}
    for row in range(6, 32):
        assert said(woven, row) == said(rounds, row)


def test_a_round_that_was_passed_over_is_as_it_was_heard() -> None:
    rounds = sound(*[{0: 0.9}, {}, {1: 0.8}, {}] * 8)
    woven = weave(rounds, HEARD, [spot(" the", 0, 0), spot(" cat", 30, 30)], NAMES, share=1.0)
    assert said(woven, 2) == {} and said(woven, 30) == {" cat": pytest.approx(0.9)}
    for row in range(4, 27):
        assert said(woven, row) == said(rounds, row)


def test_one_word_in_two_cases_is_one_word() -> None:
    cased = (" the", " cat", " cat")
    twice = sound(*[{1: 0.5, 2: 0.3}] * 40)
    woven = weave(twice, cased, [spot(" the", 2, 2)], NAMES, share=1.0)
    assert said(woven, 20) == {" cat": pytest.approx(0.8)}


def test_words_keep_their_order_and_one_that_is_repeated_has_silence_before_it() -> None:
    read = [spot(" the", 3, 3), spot(" castle", 0, 0), spot(" castle", 0, 0)]
    woven = weave(sound(*[{0: 0.5}] * 9), HEARD, read, NAMES, share=1.0)
    rows = [row for row in range(9) if " castle" in said(woven, row)]
    assert len(rows) == 2 and rows[1] - rows[0] == 2


def test_a_reading_where_nobody_speaks_is_not_believed() -> None:
    silent = sound(*[{0: 0.02}] * 12)
    assert weave(silent, HEARD, [spot(" castle", 5, 6)], NAMES, share=0.9) is silent
    assert weave(silent, HEARD, [], NAMES, share=0.9) is silent


def test_a_reading_that_guesses_is_not_believed() -> None:
    loud = sound(*[{0: 0.9}] * 12)
    guess = [spot(" castle", at, at, 0.2) for at in (1, 4, 8)]
    assert weave(loud, HEARD, guess, NAMES, share=0.9) is loud
    assert weave(loud, HEARD, [spot(" castle", 1, 1), *guess[1:]][:2], NAMES, share=0.9).in_order


def test_a_guess_gives_way_to_a_word_that_was_surely_heard() -> None:
    heard = sound({0: 0.95}, {}, {}, {2: 0.95}, {}, {}, {0: 0.95}, {})
    the, again = spot(" the", 0, 0), spot(" the", 6, 6)

    def middle(belief: float) -> dict[str, float]:
        guess = Spot({" castle": 0.98}, 4, 4, belief)
        woven = weave(heard, HEARD, [the, guess, again], NAMES, share=1.0)
        return {text: p for row in range(1, 6) for text, p in said(woven, row).items()}

    # What is read as surely as not is believed, as is what is read beside it.
    assert middle(0.4) == {" castle": pytest.approx(0.98)}
    assert middle(0.2) == {
        " castle": pytest.approx(0.2 * 0.98),
        " hat": pytest.approx(0.95),
    }
    unsure = sound({0: 0.95}, {}, {}, {2: 0.8}, {}, {}, {0: 0.95}, {})
    guess = Spot({" castle": 0.98}, 4, 4, 0.2)
    woven = weave(unsure, HEARD, [the, guess, again], NAMES, share=1.0)
    assert said(woven, 3) == {} and said(woven, 4) == {" castle": pytest.approx(0.98)}


def test_the_rest_of_a_word_that_is_read_beside_a_guess_is_not_said_again() -> None:
    heard = sound({0: 0.95}, {0: 0.95}, {}, {}, {}, {})
    guess = Spot({" castle": 0.98}, 4, 4, 0.3)
    woven = weave(heard, HEARD, [spot(" the", 0, 0), guess], NAMES, share=1.0)
    assert said(woven, 1) == {} and list(said(woven, 4)) == [" castle"]


def test_a_word_beyond_the_speech_is_believed_less() -> None:
    ends = sound(*[{0: 0.9}] * 6, *[{}] * 14)
    woven = weave(
        ends, HEARD, [spot(" the", 1, 1), spot(" cat", 3, 3), spot("s", 15, 16)], NAMES, share=1.0
    )
    assert " cat" in said(woven, 3) and not any("s" in said(woven, row) for row in range(20))


def test_more_words_than_rows_are_left_out() -> None:
    woven = weave(sound({0: 0.9}, {0: 0.9}), HEARD, [spot(" the", 0, 0)] * 9, NAMES, share=0.9)
    assert len(woven) == 2 and (woven.beliefs.sum(axis=1) <= 1.001).all()


@given(
    st.lists(
        st.tuples(st.sampled_from(READ[1:]), st.integers(0, 12), st.integers(0, 3)), max_size=12
    ),
    st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1)), min_size=1, max_size=8),
    st.floats(0.1, 1.0),
)
def test_beliefs_stay_beliefs_whatever_is_read(
    read: list[tuple[str, int, int]], rows: list[tuple[int, float]], share: float
) -> None:
    given_sound = sound(*[{word: belief} for word, belief in rows])
    placed = [spot(text, first, first + more) for text, first, more in read]
    woven = weave(given_sound, HEARD, placed, NAMES, share=share)
    assert (woven.beliefs >= 0).all() and (woven.beliefs.sum(axis=1) <= 1.001).all()
    assert (np.diff(woven.beliefs, axis=1) <= 0).all() or not woven.in_order
    assert woven.words.max(initial=0) < len(WORDS)


def test_the_end_of_a_last_word_that_was_heard_in_pieces_is_not_said_again() -> None:
    # The reader has " castle" where the encoder heard " cat" and "s", and then silence.
    heard = sound({0: 0.9}, {}, {1: 0.9}, {}, {}, {}, {3: 0.9}, *[{}] * 12)
    woven = weave(heard, HEARD, [spot(" the", 0, 1), spot(" castle", 2, 3)], NAMES, share=0.9)
    assert max(said(woven, 6).values()) < 0.2
    # What comes later is another word.
    later = sound({0: 0.9}, {}, {1: 0.9}, *[{}] * 9, {1: 0.9}, *[{}] * 8)
    woven = weave(later, HEARD, [spot(" the", 0, 1), spot(" castle", 2, 3)], NAMES, share=0.9)
    assert said(woven, 12) == {" cat": pytest.approx(0.9)}


def test_marks_are_no_words_and_give_their_belief_to_them() -> None:
    looks = np.ones((1, 8), np.float32)
    comma = Step(np.array([0, 2], np.int32), np.array([0.6, 0.4], np.float32), looks)
    cat = Step(np.array([2, 3, 0], np.int32), np.array([0.5, 0.3, 0.2], np.float32), looks)
    frames = np.array([0, 4], np.int32), np.array([3, 7], np.int32)
    texts = (",", " The", " Cat", " castle", "s")
    (found,) = spots([comma, cat], READ, texts, NAMES, frames, 4.0)
    assert (found.text, found.first, found.last, found.belief) == (" cat", 1, 1, 0.5)
    assert found.ways == {" cat": pytest.approx(0.6125), " castle": pytest.approx(0.3675)}


def test_a_word_begins_after_a_mark_that_no_space_follows() -> None:
    texts = ("-", " the", " cat", "the", "s", "\u2019")
    words = tuple(map(word_of, texts))
    looks = np.ones((1, 4), np.float32)

    def read(*tokens: int) -> list[str]:
        steps = [Step(np.array([t, 4], np.int32), np.array([0.9, 0.1]), looks) for t in tokens]
        frames = np.arange(len(tokens), dtype=np.int32), np.arange(len(tokens), dtype=np.int32)
        return [spot.text for spot in spots(steps, words, texts, NAMES, frames, 1.0)]

    assert read(2, 0, 3) == [" cat", " the"]
    assert read(2, 4) == [" cat", "s"]
    # An apostrophe parts no word, and what nobody knows with a space stands without one.
    assert read(2, 5, 4) == [" cat", "s"]
    assert read(2, 0, 4) == [" cat", "s"]


@pytest.mark.parametrize(
    ("text", "word"),
    [(" The", " the"), ("-o", " o"), (" well-", " well"), ("'s", "'s"), (",", ""), (" 12", "")],
)
def test_what_a_token_says(text: str, word: str) -> None:
    assert word_of(text) == word


DIGITS = (" the", " one", " two", " six")
DIGIT_NAMES = {word: at for at, word in enumerate([*DIGITS, " re"])}


READ_DIGITS = {0: " the", 6: " two", 8: " re"}


def read_digits(
    *rows: dict[int, float], read_at: dict[int, str] = READ_DIGITS
) -> list[dict[str, float]]:
    """Rows where the reader wrote the words of `read_at`."""
    told = sound(*rows)
    read = [spot(text, at, at) for at, text in read_at.items()]
    woven = weave(told, DIGITS, read, DIGIT_NAMES, share=1.0)
    names = list(DIGIT_NAMES)
    return [
        {names[word]: belief for word, belief in zip(*row, strict=True) if belief > 0}
        for row in zip(woven.words.tolist(), woven.beliefs.tolist(), strict=True)
    ]


def test_digits_that_follow_each_other_are_as_they_were_heard() -> None:
    # " two" is heard in two rows, and is one word.
    rows = [{0: 0.9}, {}, {1: 0.8, 3: 0.1}, {}, {2: 0.9}, {2: 0.6}, {}, {3: 0.9}, {}]
    woven = read_digits(*rows)
    assert woven[0] == {" the": pytest.approx(0.9)}
    assert woven[2] == {" one": pytest.approx(0.8), " six": pytest.approx(0.1)}
    assert [list(woven[at]) for at in (4, 5, 6, 7, 8)] == [[" two"], [" two"], [], [" six"], []]


@pytest.mark.parametrize(
    "rows",
    [
        # Two are no row of digits, nor are three if one is not heard, or another word is between.
        [{0: 0.9}, {}, {1: 0.8}, {}, {2: 0.9}, {2: 0.6}, {2: 0.6}, {}, {}],
        [{0: 0.9}, {}, {1: 0.8}, {}, {2: 0.2}, {}, {}, {3: 0.9}, {}],
        [{0: 0.9}, {}, {1: 0.8}, {0: 0.9}, {2: 0.9}, {}, {}, {3: 0.9}, {}],
    ],
)
def test_fewer_digits_are_as_they_were_read(rows: list[dict[int, float]]) -> None:
    woven = read_digits(*rows)
    assert [text for row in woven for text in row] == [" the", " two", " re"]


@pytest.mark.parametrize(
    ("read", "stands"),
    [
        ((" one", " two", " six"), True),
        # The encoder hears one of two that are alike, the reader both.
        ((" one", " two", " six", " six"), True),
        ((" one", " six"), False),
        ((" one", " two", " one", " two", " six"), False),
        ((" one", " two", " re", " six"), False),
    ],
)
def test_digits_stand_as_they_were_read_if_they_are_those_that_were_heard(
    read: tuple[str, ...], stands: bool
) -> None:
    rows = [{0: 0.9}, {}, {1: 0.8}, {}, {2: 0.9}, {}, {}, {3: 0.9}, {}, {}, {}]
    places = (2, 4, 7, 9, 10) if len(read) > 3 or stands else (2, 7)
    woven = read_digits(*rows, read_at={0: " the"} | dict(zip(places, read, strict=False)))
    words = [text for row in woven[1:] for text in row]
    assert words == list(read if stands else (" one", " two", " six"))
