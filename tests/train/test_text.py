from __future__ import annotations

import pytest

from edge_audiokv.train.text import letters, load_tokenizer, piece_vocabulary, plain


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, World!", "hello world"),
        ("It\u2019s 'quoted' -- and o'clock", "it's quoted and o'clock"),
        ("Chapter 12", ""),
    ],
)
def test_plain(text: str, expected: str) -> None:
    assert plain(text) == expected


def test_letters_are_classes_from_one() -> None:
    assert letters("a b'") == [2, 1, 3, 28]


def test_fewer_merges_spell_rare_words_in_tokens_of_the_same_llm() -> None:
    whole, short = load_tokenizer(), load_tokenizer(1500)
    text = " an expedition with republican enthusiasm"
    assert len(short.encode(text).ids) > len(whole.encode(text).ids)
    assert whole.decode(short.encode(text).ids) == text


def test_vocabulary_can_spell_everything() -> None:
    vocabulary = set(piece_vocabulary(["some words"], 1500))
    assert vocabulary >= set(load_tokenizer(1500).encode("z").ids)
    assert vocabulary >= set(load_tokenizer(1500).encode(" some words").ids)
