"""Capitals and marks of a reading on the words of the LLM."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_audiokv.engine.finals.writing import as_written, each_as_written, plain_words

READING = "He said: the old man's boat, well-known to all, was gone. Nobody (Anna, too) knew!"


@pytest.mark.parametrize(
    ("text", "reading", "written"),
    [
        ("the train was late", "The train was late.", "The train was late."),
        # The LLM's own word stands where the reader has another.
        ("the tram was late", "The train, was late.", "The tram, was late."),
        (
            "we saw the harbour at dover",
            "We saw the harbor at Dover.",
            "We saw the harbour at Dover.",
        ),
        # More or fewer words of its own: marks stay at the end, capitals at the start.
        ("i saw tom son today", "I saw Thomson, today.", "I saw Tom son, today."),
        ("it was cold we left", "It was cold outside. We left.", "It was cold. We left."),
        ("it was very cold we left", "It was cold. We left.", "It was very cold. We left."),
        # A sentence begins after its end, and nowhere else.
        ("he came and so she left", "He came. She left.", "He came. And so she left."),
        ("it's the boys' room", "It's the boys' room?", "It's the boys' room?"),
        ("so", "...", "so"),
        ("", "He came.", ""),
        ("he came", "", "he came"),
        # What writes capitals or marks itself needs no help.
        ("He came, i think", "He came. I think.", "He came, i think"),
    ],
)
def test_marks_and_capitals_stand_where_they_were_read(
    text: str, reading: str, written: str
) -> None:
    assert as_written(text, reading) == written


WORDS = st.lists(st.sampled_from(["the", "old", "man's", "boat", "was", "gone", "anna", "all"]))


@given(WORDS, WORDS.map(" ".join).map(str.title) | st.just(READING) | st.text(max_size=40))
def test_no_word_is_lost_or_made(words: list[str], reading: str) -> None:
    written = as_written(" ".join(words), reading)
    assert len(written.split()) == len(words)
    for word, said in zip(written.split(), words, strict=True):
        assert said.lower() in word.lower()
    assert each_as_written(words, written) == written.split()


def test_the_words_of_a_reading_are_what_the_llm_writes() -> None:
    assert plain_words(READING) == (
        "he said the old man's boat well known to all was gone nobody anna too knew"
    )
    assert plain_words(" ... 1914 -- ") == ""


def test_a_stray_capital_does_not_keep_the_rest_from_being_written() -> None:
    said = "no one who had ever seen catherine mOrland would have supposed her a heroine"
    read = "No one who had ever seen Catherine Morland would have supposed her a heroine."
    assert as_written(said, read) == read
    # Capitals of its own are more than one in eight words.
    assert as_written("The End of Catherine Morland", read) == "The End of Catherine Morland"
