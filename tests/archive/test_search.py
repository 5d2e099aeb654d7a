"""Questions find the turns that bear on them, however they are put."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_audiokv.archive.search import MOST_WORDS, figures_of, is_number, query_of
from edge_audiokv.archive.store import Archive

SAID = [
    "the ferry to the island leaves at half past nine",
    "she has bought three boats since the summer",
    "the meeting on the budget is moved to friday",
    "we were talking about what you said about it",
    "nine people were on the island",
]


@pytest.fixture
def archive():  # type: ignore[no-untyped-def]
    with Archive(None) as archive:
        session = archive.begin("talk")
        for number, text in enumerate(SAID):
            archive.add(session, float(number), number + 1.0, text)
        yield archive


@pytest.mark.parametrize(
    ("question", "best"),
    [
        ("When does the ferry leave?", 0),
        ("What did she say about the boat?", 1),
        ("To what day was the meeting moved?", 2),
        ("what was that about", 3),  # common words alone are looked for as they are
        ("ISLAND PEOPLE", 4),
        ('"ferry" AND NOT (leaves:*', 0),
    ],
)
def test_the_best_turn_comes_first(archive: Archive, question: str, best: int) -> None:
    assert archive.search(question)[0].turn.text == SAID[best]


def test_scores_fall_and_what_is_not_there_is_not_found(archive: Archive) -> None:
    found = archive.search("island ferry nine")
    assert len(found) == 2
    assert found[0].score > found[1].score > 0
    assert found[0].marked.count("\x02") == 6
    assert archive.search("submarine") == [] and archive.search("?!") == []


def test_a_search_can_keep_to_a_session(archive: Archive) -> None:
    other = archive.begin("other")
    archive.add(other, 0.0, 1.0, "an island")
    assert [item.turn.text for item in archive.search("island", session=other)] == ["an island"]


@given(st.text(max_size=2000))
def test_queries_are_bounded_and_quote_every_word(text: str) -> None:
    words = query_of(text).split(" OR ")
    assert len(words) <= MOST_WORDS
    assert all(
        word == "" or (word[0] == word[-1] == '"' and '"' not in word[1:-1]) for word in words
    )


@pytest.mark.parametrize(
    ("text", "figures", "number"),
    [
        ("The code is four 2, or one.", "42 1", False),
        ("six 6 0-four", "6604", True),
        ("1803", "1803", True),
        ("a boat", "", False),
        ("", "", False),
    ],
)
def test_digits_are_figures_however_they_are_written(text: str, figures: str, number: bool) -> None:
    assert (figures_of(text), is_number(text)) == (figures, number)
