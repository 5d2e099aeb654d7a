from __future__ import annotations

import pytest

from edge_audiokv.calibrate.alignment import align_tokens, span, words_of
from edge_audiokv.errors import InputError
from edge_audiokv.events import Word


def test_span_is_the_uniform_map_of_the_paper():
    # 10 s are 125 tokens: 2.00-2.56 s is floor(25) to floor(32).
    assert span(Word("a", 2.0, 2.56), 10.0, 125) == (25, 32)
    assert span(Word("a", 9.9, 10.2), 10.0, 125) == (123, 124)


def test_words_come_from_the_manifest_or_not_at_all():
    entry = {"id": "x", "words": [{"text": "hi", "start_s": 0.1, "end_s": 0.4}]}
    assert words_of(entry) == [Word("hi", 0.1, 0.4, 1.0)]
    with pytest.raises(InputError, match="no usable word times"):
        words_of({"id": "x", "text": "hi", "duration": 3.0})
    with pytest.raises(InputError, match="ends before"):
        words_of({"words": [{"text": "hi", "start_s": 0.4, "end_s": 0.1}]})


def test_tokens_are_matched_to_words_greedily():
    words = [Word(text, i, i + 1) for i, text in enumerate(["The", "cat,", "sat", "the", "end"])]
    pieces = [" the", " c", "at", " dog", " the", " end"]
    assert align_tokens(pieces, words) == [0, 1, 1, None, 3, 4]


def test_a_word_far_ahead_is_no_match():
    words = [Word(text, i, i + 1) for i, text in enumerate(["a", *"bcdefghij", "zebra"])]
    assert align_tokens([" zebra"], words, reach=8) == [None]
    assert align_tokens([" zebra"], words, reach=20) == [10]


def test_words_of_scripts_without_spaces_are_matched_by_what_tokens_hold_of_them():
    said = ["你", "好,", "世", "界。", "12", "点", "Grüße"]
    words = [Word(text, i, i + 1) for i, text in enumerate(said)]
    pieces = ["你", "好", ",", "世界", "。", "12", "点", " Gr", "", "üße"]
    assert align_tokens(pieces, words) == [0, 1, 1, 2, None, 4, 5, 6, 6, 6]
    # A token that holds one of them and something else is none of them.
    assert align_tokens(["世人", "界"], words) == [None, 3]
    # Words with spaces between them are never one.
    assert align_tokens([" today"], [Word("to", 0, 1), Word("day", 1, 2)]) == [None]
    assert align_tokens([], words) == []
