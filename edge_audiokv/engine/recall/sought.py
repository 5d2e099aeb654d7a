"""What a question is about: words that were said, a time, or the beginning."""

from __future__ import annotations

import re

from edge_audiokv.archive.search import telling_words

# In quotation marks, straight or curved.
_QUOTED = re.compile(r"[\"\u201c\u201e]([^\"\u201c\u201d\u201e]+)[\"\u201d\u201c]")
# Words of questions about what was said, which turns hold by chance.
_OF_ASKING_TEXT = """
answer audio beginning earlier end first hear heard last later minute minutes moment question repeat
second seconds sentence sentences speaker start summarise summarize summary transcribe word words
"""
_OF_ASKING = frozenset(_OF_ASKING_TEXT.split())
_OF_THE_START = frozenset(("beginning", "first", "start"))
_OF_ORDER = frozenset(("earlier", "first"))
# Each is looked for on its own.
_MOST_CHOICES = 4
_OF_TIMES = frozenset(("minute", "minutes", "second", "seconds"))
_NUMBERS = {"a": 1, "an": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6}
_NUMBERS |= {"seven": 7, "eight": 8, "nine": 9, "ten": 10, "twenty": 20, "thirty": 30}
_N = rf"(\d{{1,4}}|{'|'.join(_NUMBERS)})"
_UNITS_S = {"second": 1.0, "minute": 60.0, "hour": 3600.0}
_AGO = re.compile(rf"\b{_N}\s+(second|minute|hour)s?\s+ago\b", re.IGNORECASE)
_MINUTE = re.compile(rf"\bminute\s+{_N}\b", re.IGNORECASE)
_CLOCK = re.compile(r"\b(?:(\d{1,3}):)?(\d{1,2}):([0-5]\d)\b")
# Who says "ten minutes ago" means about that: a share of it to either side.
_ABOUT = 0.15
_LEAST_ABOUT_S = 15.0


def words_sought(question: str) -> str:
    """The words to look for: those that `question` quotes, else all that may name something.

    `Repeat the sentence with the word "boat".` is not about sentences. Empty if it names nothing.
    """
    return quoted_in(question) or " ".join(sorted(telling_words(question) - _OF_ASKING))


def quoted_in(question: str) -> str:
    """The words that `question` quotes."""
    return " ".join(choices_in(question))


def choices_in(question: str) -> list[str]:
    """What `question` quotes, one by one."""
    return [*filter(None, (words.strip() for words in _QUOTED.findall(question)))]


def is_order_sought(question: str) -> bool:
    """Does `question` ask which of the words that it quotes was said first?"""
    few = 1 < len(choices_in(question)) <= _MOST_CHOICES
    return few and bool(telling_words(question) & _OF_ORDER)


def is_start_sought(question: str) -> bool:
    """Does `question` ask for what was said first, whatever that was?"""
    words = telling_words(question)
    return bool(words & _OF_THE_START) and not words & _OF_TIMES and not words_sought(question)


def span_sought(question: str, clock_s: float) -> tuple[float, float] | None:
    """From when to when, in seconds, if `question` names a time: "ten minutes ago", "minute 5",
    "00:12:31" or "12:31". `clock_s` is now.
    """
    if found := _AGO.search(question):
        ago_s = _number(found[1]) * _UNITS_S[found[2].lower()]
        about_s = max(_LEAST_ABOUT_S, _ABOUT * ago_s)
        span = clock_s - ago_s - about_s, clock_s - ago_s + about_s
    elif found := _MINUTE.search(question):
        span = _number(found[1]) * 60.0, _number(found[1]) * 60.0 + 60.0
    elif found := _CLOCK.search(question):
        hours, minutes, seconds = (int(part or 0) for part in found.groups())
        at_s = hours * 3600.0 + minutes * 60.0 + seconds
        span = at_s, at_s + _LEAST_ABOUT_S
    else:
        return None
    return span if span[1] >= 0 and span[0] <= clock_s else None


def _number(text: str) -> int:
    return _NUMBERS.get(text.lower()) or int(text)
