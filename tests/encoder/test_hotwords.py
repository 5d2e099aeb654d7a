"""Words that are expected are spelt as they should be, where they fit and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_audiokv.encoder.hotwords import MOST_TOKENS, Expecting, Hotwords
from edge_audiokv.encoder.reading import Step
from edge_audiokv.errors import InputError

TEXTS = ("", " Arg", "yle", " arg", "ile", "ument", " Lock", "e", " lock", ",", ".", " ", "a", "b")
ARGYLE, LOCKE = [1, 2], [6, 7]


def step(beliefs: dict[int, float]) -> Step:
    return Step(
        np.array(list(beliefs), np.int32),
        np.array(list(beliefs.values()), np.float32),
        np.ones((1, 4), np.float32),
    )


def test_words_are_spelt_by_the_longest_tokens() -> None:
    hotwords = Hotwords(["Argyle", "Locke"], TEXTS)
    assert hotwords.ids == [*ARGYLE, 9, *LOCKE, 10]
    assert Hotwords([], TEXTS).ids == []


def test_a_word_begins_where_it_was_heard_well_enough() -> None:
    hotwords = Hotwords(["Argyle", "Locke"], TEXTS)
    near = hotwords.raised([0], step({3: 0.7, 1: 0.2, 5: 0.1}))
    assert near.token == 1
    assert near.beliefs.sum() == pytest.approx(1.0)
    assert near.beliefs[1] / near.beliefs[2] == pytest.approx(7.0)
    # What was hardly heard stays so.
    assert hotwords.raised([0], step({3: 0.95, 1: 0.01, 5: 0.04})).token == 3


def test_a_word_goes_on_where_it_began_and_only_there() -> None:
    hotwords = Hotwords(["Argyle"], TEXTS)
    far = {4: 0.8, 2: 0.05, 5: 0.15}
    assert hotwords.raised([0, 1], step(far)).token == 2
    assert hotwords.raised([0, 3], step(far)).token == 4
    # Another word that begins alike is written to its end.
    assert hotwords.raised([0, 1], step({5: 0.99, 2: 0.001})).token == 5


def test_what_no_hotword_would_write_is_as_it_was() -> None:
    same = step({8: 0.6, 5: 0.4})
    assert Hotwords(["Argyle"], TEXTS).raised([0], same) is same


class Scripted:
    """Gives steps in order."""

    def __init__(self, *steps: Step) -> None:
        self.steps, self.asked = list(steps), []

    def step(self, token: int) -> Step:
        self.asked.append(token)
        return self.steps.pop(0)


def test_a_reader_that_expects_a_word_remembers_what_it_wrote() -> None:
    reader = Scripted(step({3: 0.7, 1: 0.3}), step({4: 0.8, 2: 0.2}))
    expecting = Expecting(reader, Hotwords(["Argyle"], TEXTS))
    first = expecting.step(0)
    assert [first.token, expecting.step(first.token).token] == ARGYLE
    assert reader.asked == [0, 1]


def test_what_cannot_be_spelt_and_what_is_too_much_is_refused() -> None:
    with pytest.raises(InputError, match=r"'Argyl\u00f6' cannot be spelt"):
        Hotwords(["Argyl\u00f6"], (*TEXTS, "l"))
    with pytest.raises(InputError, match=rf"{MOST_TOKENS} are the most"):
        Hotwords(["ab" * n for n in range(1, 30)], TEXTS)


@given(
    st.lists(st.integers(0, len(TEXTS) - 1), max_size=6),
    st.lists(st.floats(0.001, 1), min_size=1, max_size=8),
    st.integers(0, 5),
)
def test_beliefs_stay_beliefs(before: list[int], weights: list[float], first: int) -> None:
    total = sum(weights) * 1.01
    heard = step({first + k: weight / total for k, weight in enumerate(weights)})
    raised = Hotwords(["Argyle", "Locke", "Lock"], TEXTS).raised(before, heard)
    assert sorted(raised.tokens) == sorted(heard.tokens)
    assert (raised.beliefs >= 0).all() and raised.beliefs.sum() <= 1.0001
    assert (np.diff(raised.beliefs) <= 0).all() or raised is heard
