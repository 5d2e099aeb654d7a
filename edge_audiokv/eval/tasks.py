"""Questions about joined utterances whose answers are exact because the texts are known.

The question always comes after the sound, so that nothing can know it while the sound is read.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass

TRANSCRIBE = "Transcribe the audio."
FIRST = "What was said first?"
LAST = "What was said last?"
REPEAT = 'Repeat the sentence with the word "{word}".'
MENTIONED = 'Was the word "{word}" said?'
EARLIER = 'Which word was said earlier, "{a}" or "{b}"?'
CODE = "What is the code?"
KINDS = ("transcribe", "first", "last", "repeat", "mentioned", "earlier", "code")
MIN_LETTERS = 5
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
# Chance of tasks with two possible answers; the others have none worth naming.
CHANCE = {"mentioned": 0.5, "earlier": 0.5}


@dataclass(frozen=True)
class Task:
    """A question and its exact answer; `segment` is where the answer lies (-1: nowhere)."""

    kind: str
    question: str
    answer: str
    segment: int = -1


def spoken_code(text: str) -> str:
    """Digits of a plain text such as "the code is nine one four two" ("9142"), or ""."""
    words = text.split()
    digits = [str(DIGITS.index(w)) for w in words if w in DIGITS]
    return "".join(digits) if "code" in words and len(digits) >= 3 else ""


def make_task(texts: list[str], kind: str, rng: random.Random, others: list[str]) -> Task | None:
    """One task over plain segment texts, or None where the segments do not allow this kind.

    `others` are words to ask about that were not said. Yes and no are equally likely, and so are
    the two orders of `earlier`: chance is one half.
    """
    if kind == "transcribe":
        return Task(kind, TRANSCRIBE, " ".join(texts))
    if kind == "first":
        return Task(kind, FIRST, texts[0], 0)
    if kind == "last":
        return Task(kind, LAST, texts[-1], len(texts) - 1)
    if kind == "code":
        found = [(i, spoken_code(t)) for i, t in enumerate(texts) if spoken_code(t)]
        if len(found) != 1:
            return None
        return Task(kind, CODE, found[0][1], found[0][0])
    places = _unique_words(texts)
    if kind == "mentioned":
        said = {w for t in texts for w in t.split()}
        absent = [w for w in others if w not in said and len(w) >= MIN_LETTERS]
        if rng.random() < 0.5:
            if not places:
                return None
            word = rng.choice(sorted(places))
            return Task(kind, MENTIONED.format(word=word), "yes", places[word])
        if not absent:
            return None
        return Task(kind, MENTIONED.format(word=rng.choice(absent)), "no")
    if kind == "repeat":
        if not places:
            return None
        word = rng.choice(sorted(places))
        return Task(kind, REPEAT.format(word=word), texts[places[word]], places[word])
    if len(set(places.values())) < 2:
        return None
    a, b = rng.sample(sorted(places), 2)
    while places[a] == places[b]:
        a, b = rng.sample(sorted(places), 2)
    answer = a if places[a] < places[b] else b
    return Task("earlier", EARLIER.format(a=a, b=b), answer, places[answer])


def _unique_words(texts: list[str]) -> dict[str, int]:
    """Long words that one segment alone contains, and that segment."""
    holders = Counter(w for t in texts for w in set(t.split()) if len(w) >= MIN_LETTERS)
    return {w: i for i, t in enumerate(texts) for w in t.split() if holders.get(w, 0) == 1}


def is_right(task: Task, answer: str) -> bool:
    """Exact for codes, words and yes/no; for a sentence at most half of its words wrong."""
    if task.kind in ("mentioned", "earlier", "code"):
        return answer.strip() == task.answer
    return _edits(task.answer.split(), answer.split()) <= 0.5 * len(task.answer.split())


def _edits(said: list[str], heard: list[str]) -> int:
    """Levenshtein distance in words."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(said, 1):
        above, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            above, row[j] = row[j], min(above + (word != other), row[j] + 1, row[j - 1] + 1)
    return row[-1]
