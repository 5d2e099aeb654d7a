"""From a question as people ask it to turns that may answer it: words, stemmed, ranked by BM25.

BM25 as FTS5 has it: Robertson and Zaragoza, The Probabilistic Relevance Framework (2009), with
k1 = 1.2 and b = 0.75.
"""

from __future__ import annotations

import re

# Around words that were found; no text of a model holds it.
MARK = "\x02"
# A question may be as long as anything; more words than these only cost time.
MOST_WORDS = 32
_WORD = re.compile(r"[^\W_]+")
# Words that are in every turn and tell none from another.
_COMMON_TEXT = """
a about after again all also am an and any are as at be because been before being but by can
could did do does doing for from had has have he her hers him his how i if in into is it its
me mention mentioned more most my no nor not of off on or our out over own said say says she
should so some spoke such talk talked tell than that the their them then there these they this
those through to too under until up us very was we were what when where which while who whom
why will with would you your
"""
_COMMON = frozenset(_COMMON_TEXT.split())
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def query_of(text: str) -> str:
    """An FTS5 query that matches turns with any telling word of `text`; empty if it has none.

    Every word is quoted, so nothing in `text` is taken for an operator. A text of common words
    alone ("what was that") is looked for as it is.
    """
    words = list(dict.fromkeys(_WORD.findall(text.casefold())))
    telling = [word for word in words if word not in _COMMON] or words
    return " OR ".join(f'"{word}"' for word in telling[:MOST_WORDS])


def telling_words(text: str) -> set[str]:
    """Words of `text` that tell it from others; a number in figures is its digits, too."""
    words = set(_WORD.findall(text.casefold())) - _COMMON
    digits = {DIGITS[int(d)] for word in words if word.isdecimal() for d in word}
    return words | digits


def figures_of(text: str) -> str:
    """The digits of `text`, spelled or not, in figures; other words part them: "the code is four 2,
    or one" has "42 1".
    """
    words = _WORD.findall(text.casefold())
    figures = [str(DIGITS.index(word)) if word in DIGITS else word for word in words]
    return " ".join("".join(each if each.isdecimal() else " " for each in figures).split())


def is_number(text: str) -> bool:
    """Has `text` digits, and no other words?"""
    words = _WORD.findall(text.casefold())
    return bool(words) and all(word in DIGITS or word.isdecimal() for word in words)
