from __future__ import annotations

import pytest

from edge_audiokv.eval.questions import Question, is_right, questions

TEXTS = ["the harbour was quiet", "a letter arrived from london", "nobody answered the letter"]


def test_questions_have_the_answers_that_the_texts_give():
    found = questions(TEXTS, ["elephant", "quiet", "cat"], seed=3)
    by = {(q.kind, q.answer): q for q in found}
    assert by["first", TEXTS[0]].text == "What was said first?"
    assert by["last", TEXTS[2]].text == "What was said last?"
    assert [q.kind for q in found].count("mentioned") == 2
    # Only a long word that was not said may be asked for a "no".
    assert by["mentioned", "no"].text == 'Was the word "elephant" said?'
    repeat = next(q for q in found if q.kind == "repeat")
    word = repeat.text.split('"')[1]
    assert word in repeat.answer.split() and repeat.answer in TEXTS and word != "letter"
    earlier = next(q for q in found if q.kind == "earlier")
    a, b = earlier.text.split('"')[1], earlier.text.split('"')[3]
    place = {w: i for i, text in enumerate(TEXTS) for w in text.split()}
    assert earlier.answer == (a if place[a] < place[b] else b)


def test_questions_are_the_same_for_the_same_seed_and_left_out_where_impossible():
    assert questions(TEXTS, [], seed=1) == questions(TEXTS, [], seed=1)
    assert {q.kind for q in questions(["a b c"], [])} == {"first", "last"}
    assert "earlier" not in {q.kind for q in questions(["one sentence alone"], [])}


@pytest.mark.parametrize(
    ("kind", "answer", "said", "right"),
    [
        ("mentioned", "yes", "Yes.", True),
        ("mentioned", "yes", "yes it was", False),
        ("earlier", "letter", "london", False),
        ("first", "the harbour was quiet", "the harbour is quiet", True),
        ("first", "the harbour was quiet", "nobody saw a letter", False),
        ("last", "the harbour was quiet", "", False),
    ],
)
def test_sentences_may_be_half_wrong_and_words_not_at_all(kind, answer, said, right):
    assert is_right(Question(kind, "?", answer), said) is right
