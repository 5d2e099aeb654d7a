from __future__ import annotations

import random
from collections import Counter

import pytest

from edge_audiokv.eval.tasks import (
    KINDS,
    Task,
    closest_segment,
    is_right,
    make_task,
    make_tasks,
    spoken_code,
)

TEXTS = [
    "the garden was green in the morning",
    "remember the code seven one four two",
    "nobody answered the letter from abroad",
]
OTHERS = ["elephant", "window", "garden"]


@pytest.mark.parametrize("kind", KINDS)
def test_answer_is_in_the_named_segment(kind: str) -> None:
    rng = random.Random(3)
    for _ in range(50):
        task = make_task(TEXTS, kind, rng, OTHERS)
        assert task is not None
        if kind in ("first", "last", "repeat"):
            assert task.answer == TEXTS[task.segment]
        if kind == "code":
            assert (task.answer, task.segment) == ("7142", 1)
        if kind == "transcribe":
            assert task.answer == " ".join(TEXTS)


def test_yes_and_no_are_balanced_and_true() -> None:
    rng = random.Random(0)
    tally: Counter[str] = Counter()
    for _ in range(400):
        task = make_task(TEXTS, "mentioned", rng, OTHERS)
        assert task is not None
        word = task.question.split('"')[1]
        assert (task.answer == "yes") == any(word in t.split() for t in TEXTS)
        tally[task.answer] += 1
    assert 160 < tally["yes"] < 240


def test_earlier_names_the_word_that_comes_first_in_either_order() -> None:
    rng = random.Random(0)
    first_named = 0
    for _ in range(300):
        task = make_task(TEXTS, "earlier", rng, OTHERS)
        assert task is not None
        a, b = task.question.split('"')[1], task.question.split('"')[3]
        place = {w: i for i, t in enumerate(TEXTS) for w in t.split()}
        assert task.answer == (a if place[a] < place[b] else b)
        first_named += task.answer == a
    assert 110 < first_named < 190


def test_what_cannot_be_asked_is_refused() -> None:
    rng = random.Random(0)
    assert make_task(["a b c"], "code", rng, OTHERS) is None
    assert make_task([TEXTS[1], TEXTS[1]], "code", rng, OTHERS) is None
    assert make_task(["garden path", "garden gate"], "earlier", rng, OTHERS) is None


def test_only_a_sentence_about_a_code_holds_one() -> None:
    assert spoken_code("my code is zero zero nine") == "009"
    assert spoken_code("seven one four two") == ""
    assert spoken_code("the code is lost") == ""


def test_the_questions_of_a_seed_never_change() -> None:
    # Saved results of the comparison are found again by these very texts.
    assert [(t.question, t.answer, t.segment) for t in make_tasks(TEXTS, OTHERS, seed=3)] == [
        ("What was said first?", TEXTS[0], 0),
        ("What was said last?", TEXTS[2], 2),
        ('Repeat the sentence with the word "green".', TEXTS[0], 0),
        ('Was the word "seven" said?', "yes", 1),
        ('Was the word "elephant" said?', "no", -1),
        ('Which word was said earlier, "morning" or "remember"?', "morning", 0),
    ]


def test_a_no_is_asked_only_about_long_words_that_were_not_said() -> None:
    for seed in range(20):
        found = make_tasks(TEXTS, ["cat", "garden", "elephant"], seed=seed)
        asked = [t.question for t in found if t.kind == "mentioned" and t.answer == "no"]
        assert asked == ['Was the word "elephant" said?']


def test_tasks_that_the_texts_do_not_allow_are_left_out() -> None:
    assert {t.kind for t in make_tasks(["a b c"], [])} == {"first", "last"}
    assert "earlier" not in {t.kind for t in make_tasks(["one sentence alone"], [])}


@pytest.mark.parametrize(
    ("kind", "answer", "said", "right"),
    [
        ("mentioned", "yes", "Yes.", True),
        ("mentioned", "yes", "yes it was", False),
        ("mentioned", "yes", "", False),
        ("earlier", "letter", "london", False),
        ("code", "7142", "7142.", True),
        ("code", "7142", "7143", False),
        ("code", "7142", "seven one four two", True),
        ("code", "7142", "7 one 42", True),
        ("code", "7142", "seven one four", False),
        ("code", "7142", "seven one four two two", False),
        ("code", "7142", "boat seven one four two", False),
        ("code", "7142", "", False),
        ("first", "the harbour was quiet", "The harbour is quiet!", True),
        ("first", "the harbour was quiet", "nobody saw a letter", False),
        ("last", "the harbour was quiet", "", False),
    ],
)
def test_sentences_may_be_half_wrong_and_words_not_at_all(
    kind: str, answer: str, said: str, right: bool
) -> None:
    assert is_right(Task(kind, "?", answer), said) is right


@pytest.mark.parametrize(
    ("answer", "segment"),
    [
        ("the bright green door", 1),
        ("Door, green!", 1),
        # "green" twice weighs no more than once, and less than the rarer "shutters".
        ("green green shutters", 2),
        ("garden", -1),  # known from the question
        ("the the", -1),  # said everywhere
        ("green", -1),  # said in two, none of them more
        ("", -1),
    ],
)
def test_an_answer_points_at_the_segment_whose_words_it_has(answer: str, segment: int) -> None:
    texts = ["the garden gate", "the bright green door", "the green shutters"]
    task = Task("repeat", 'Repeat the sentence with the word "garden".', texts[0], 0)
    assert closest_segment(task, answer, texts) == segment
