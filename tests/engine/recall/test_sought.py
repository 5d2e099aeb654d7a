"""Words and times that a question is about."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_audiokv.engine.recall.sought import (
    is_order_sought,
    is_start_sought,
    span_sought,
    words_sought,
)
from edge_audiokv.eval import tasks


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("What is the code?", "code"),
        ("When does the boat leave the harbour?", "boat harbour leave"),
        (tasks.REPEAT.format(word="boat"), "boat"),
        (tasks.MENTIONED.format(word="boat"), "boat"),
        (tasks.EARLIER.format(a="boat", b="at sea"), "boat at sea"),
        ("Was \u201cboat\u201d said?", "boat"),
        (tasks.FIRST, ""),
        (tasks.LAST, ""),
        (tasks.TRANSCRIBE, ""),
        ('""', ""),
    ],
)
def test_words(question: str, words: str) -> None:
    assert words_sought(question) == words


@pytest.mark.parametrize(
    ("question", "span"),
    [
        ("What was said ten minutes ago?", (2910.0, 3090.0)),
        ("what was that 10 seconds ago", (3575.0, 3605.0)),
        ("What was said an hour ago?", (-540.0, 540.0)),
        ("What happened in minute 5?", (300.0, 360.0)),
        ("and at minute three", (180.0, 240.0)),
        ("What was said at 00:12:31?", (751.0, 766.0)),
        ("at 12:31, what was it?", (751.0, 766.0)),
        ("What was said two hours ago?", None),
        ("What is said at 11:59:00?", None),
        ("a 4:3 picture", None),
        ("What is the code?", None),
        ("Who came a minute later?", None),
    ],
)
def test_times(question: str, span: tuple[float, float] | None) -> None:
    assert span_sought(question, 3600.0) == (pytest.approx(span) if span else None)


@pytest.mark.parametrize(
    ("question", "order"),
    [
        (tasks.EARLIER.format(a="boat", b="at sea"), True),
        ('Which was said first, "boat" or "sea"?', True),
        ('Was "boat" or "sea" said?', False),
        (tasks.REPEAT.format(word="first"), False),
        (tasks.FIRST, False),
        ("Which was first: " + '"boat" ' * 5, False),
    ],
)
def test_the_order(question: str, order: bool) -> None:
    assert is_order_sought(question) is order


@pytest.mark.parametrize(
    ("question", "start"),
    [
        (tasks.FIRST, True),
        ("What was the first sentence?", True),
        ("what did she say at the very beginning", True),
        ("How did it start?", True),
        (tasks.LAST, False),
        ("Who was the first king?", False),
        ("What was said in the first minute?", False),
        ('Repeat the sentence with the word "first".', False),
        ("", False),
    ],
)
def test_the_start(question: str, start: bool) -> None:
    assert is_start_sought(question) is start


@given(st.text(max_size=60), st.floats(0, 1e6))
def test_any_text_is_a_question(question: str, clock_s: float) -> None:
    words_sought(question)
    is_start_sought(question)
    span = span_sought(question, clock_s)
    assert span is None or (span[0] <= span[1] and span[0] <= clock_s)
