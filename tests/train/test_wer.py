from __future__ import annotations

import pytest

from edge_audiokv.train.transcribe import cut_loop
from edge_audiokv.train.wer import edits, word_error_rate


@pytest.mark.parametrize(
    ("said", "heard", "count"),
    [
        ("a b c", "a b c", 0),
        ("a b c", "a x c", 1),
        ("a b c", "", 3),
        ("", "a b", 2),
        ("a b", "b", 1),
    ],
)
def test_edits(said: str, heard: str, count: int) -> None:
    assert edits(said.split(), heard.split()) == count


def test_rate_is_over_words_and_lies_in_its_interval() -> None:
    wer = word_error_rate(["a b c d", "e f"] * 30, ["a b c d", "e x"] * 30)
    assert wer.rate == pytest.approx(1 / 6)
    assert wer.low < wer.rate < wer.high
    assert (wer.words, wer.utterances) == (180, 60)


def test_a_loop_is_cut_where_it_starts_again() -> None:
    assert cut_loop("he went to the sea he went to the sea he went") == "he went to the sea"
    assert cut_loop("one two three four five") == "one two three four five"
