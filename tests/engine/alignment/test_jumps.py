"""Where a text leaves the sound: what it left out, told twice or made up."""

from __future__ import annotations

from itertools import pairwise

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_audiokv.engine.alignment.jumps import (
    HeardWord,
    _steps,
    find_jumps,
    heard_words,
)
from tests.engine.alignment.heard import VOCABULARY, sound

BEFORE, PHRASE, AFTER = "some were scarlet", "nobody could say why", "then winter began"


def heard(text: str, belief: float = 0.9) -> list[HeardWord]:
    """Each word in a row of its own, two rows apart."""
    return [HeardWord(word, 2 * at, 2 * at, belief) for at, word in enumerate(text.split())]


def test_pieces_make_words_and_silence_makes_none() -> None:
    words = heard_words(
        sound({" rich": 0.8}, {"mond": 0.6}, {"mond": 0.7}, {" is": 0.3}, {}, {" far": 0.9}),
        VOCABULARY,
    )
    assert [(word.text, word.first, word.last) for word in words] == [
        ("richmond", 0, 2), ("far", 5, 5)
    ]  # fmt: skip
    assert [word.belief for word in words] == pytest.approx([0.7, 0.9])
    assert heard_words(sound(), VOCABULARY) == []
    assert heard_words(sound({" rich": 0.8}), ()) == [], "no word counts"


@pytest.mark.parametrize("said", [1, 2, 3, 4])
@pytest.mark.parametrize("written", [1, 2, 3, 4, 5])
def test_a_phrase_written_too_rarely_or_too_often_is_a_jump(said: int, written: int) -> None:
    spoken = heard(" ".join([BEFORE, *[PHRASE] * said, AFTER]))
    jumps = find_jumps(" ".join([BEFORE, *[PHRASE] * written, AFTER]), spoken)
    missing, extra = max(0, said - written), max(0, written - said)
    assert sum(jump.n_left_out for jump in jumps) == 4 * missing
    assert sum(jump.n_too_many for jump in jumps) == 4 * extra
    if jumps:
        # Up to there the text is right, and the rest of the sound begins with what is missing.
        good = " ".join([BEFORE, *[PHRASE] * min(said, written)])
        assert jumps[0].n_chars == len(good)
        assert 2 * (len(good.split()) - 1) < jumps[0].row <= 2 * len(good.split())


def test_a_text_that_jumps_back_tells_twice_and_leaves_out() -> None:
    spoken = heard("red carriages passed slowly while every child stood by watching silently")
    jumps = find_jumps("red carriages passed slowly red carriages passed slowly while", spoken)
    assert sum(jump.n_too_many for jump in jumps) >= 4
    assert sum(jump.n_left_out for jump in jumps) >= 4


@pytest.mark.parametrize(
    "text",
    [
        "Some wore scarlet; nobody could say why. Then winter began!",
        "some scarlet nobody could say then winter began",
        "some were scarlatti nobody cooled say why then win turbine",
        "1805 were scarlet nobody could say why then winter began",
    ],
)
def test_single_words_that_differ_are_no_jump(text: str) -> None:
    assert find_jumps(text, heard(f"{BEFORE} {PHRASE} {AFTER}")) == []


def test_what_the_encoder_hardly_believed_in_may_be_left_out() -> None:
    doubtful = heard(PHRASE, belief=0.3)
    spoken = [*heard(BEFORE), *(HeardWord(w.text, w.first + 6, w.last + 6, 0.3) for w in doubtful)]
    assert find_jumps(BEFORE, spoken) == []
    assert find_jumps(BEFORE, heard(f"{BEFORE} {PHRASE}")) != []


def test_nothing_written_of_speech_is_a_jump_and_nothing_heard_tells_nothing() -> None:
    (jump,) = find_jumps("", heard(PHRASE))
    assert (jump.n_chars, jump.row, jump.n_left_out) == (0, 0, 4)
    assert find_jumps("anything at all you like", []) == []


texts = st.lists(st.sampled_from("abcd"), max_size=9)


@given(texts, texts)
def test_steps_go_through_both_texts_in_order(written: list[str], spoken: list[str]) -> None:
    steps = [(0, 0, True), *_steps(written, spoken)]
    assert steps[-1][:2] == (len(written), len(spoken))
    for (i, j, _), (k, n, agree) in pairwise(steps):
        assert (k - i, n - j) in ((0, 1), (1, 0), (1, 1))
        if agree:
            assert written[k - 1] == spoken[n - 1]


@given(texts.filter(bool), texts.filter(bool))
def test_the_alignment_is_nearly_that_of_fewest_edits(
    written: list[str], spoken: list[str]
) -> None:
    n_agree = sum(agree for _, _, agree in _steps(written, spoken))
    edits = max(len(written), len(spoken)) - n_agree
    fewest = jiwer.process_words(" ".join(spoken), " ".join(written))
    least = fewest.substitutions + fewest.deletions + fewest.insertions
    # Runs are preferred to scattered edits, at no more than the price of opening some.
    assert edits <= 2 * least + 1 and (edits == 0) == (least == 0)
