"""Questions about joined utterances whose answers are exact because the texts are known.

The question always comes after the sound, so that nothing can know it while the sound is read.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import log

from edge_audiokv.archive.search import DIGITS, figures_of, is_number

TRANSCRIBE = "Transcribe the audio."
FIRST = "What was said first?"
LAST = "What was said last?"
REPEAT = 'Repeat the sentence with the word "{word}".'
MENTIONED = 'Was the word "{word}" said?'
EARLIER = 'Which word was said earlier, "{a}" or "{b}"?'
CODE = "What is the code?"
CODE_OF = "What is the code of the {place}?"
KINDS = ("transcribe", "first", "last", "repeat", "mentioned", "earlier", "code")
MIN_LETTERS = 5
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


def place_of(text: str) -> str:
    """The place of a plain text such as "the code of the kitchen is nine one four two", or ""."""
    found = re.search(r"\bcode (?:of|for) the (\w+)", text)
    return found[1] if found else ""


def make_task(
    texts: Sequence[str], kind: str, rng: random.Random, others: Sequence[str]
) -> Task | None:
    """One task over plain segment texts, or None where the segments do not allow this kind.

    `others` are words to ask about that were not said. Yes and no are equally likely, and so are
    the two orders of `earlier`: chance is one half.
    """
    if kind == "transcribe":
        return Task(kind, TRANSCRIBE, " ".join(texts))
    if kind == "first":
        return _first(texts)
    if kind == "last":
        return _last(texts)
    if kind == "code":
        found = [(i, spoken_code(t)) for i, t in enumerate(texts) if spoken_code(t)]
        if len(found) != 1:
            return None
        return Task(kind, CODE, found[0][1], found[0][0])
    places = _unique_words(texts)
    if kind == "mentioned":
        absent = _absent_words(texts, others)
        if rng.random() < 0.5:
            return _said(rng.choice(sorted(places)), places) if places else None
        return _unsaid(rng.choice(absent)) if absent else None
    if kind == "repeat":
        return _repeat(rng.choice(sorted(places)), texts, places) if places else None
    if len(set(places.values())) < 2:
        return None
    a, b = rng.sample(sorted(places), 2)
    while places[a] == places[b]:
        a, b = rng.sample(sorted(places), 2)
    return _earlier(a, b, places)


def make_tasks(texts: Sequence[str], others: Sequence[str], *, seed: int = 0) -> list[Task]:
    """One task of each kind but transcribe and code (of `mentioned` a yes and a no), for a seed.

    Saved results of the comparison are found again by these questions: the order of draws is part
    of its format. Kinds that the texts do not allow are left out.
    """
    rng = random.Random(seed)
    found = [_first(texts), _last(texts)]
    places = _unique_words(texts)
    if places:
        found.append(_repeat(rng.choice(sorted(places)), texts, places))
        found.append(_said(rng.choice(sorted(places)), places))
    absent = sorted(set(_absent_words(texts, others)))
    if absent:
        found.append(_unsaid(rng.choice(absent)))
    if len(set(places.values())) > 1:
        a = b = rng.choice(sorted(places))
        while places[a] == places[b]:
            b = rng.choice(sorted(places))
        found.append(_earlier(a, b, places))
    return found


def _first(texts: Sequence[str]) -> Task:
    return Task("first", FIRST, texts[0], 0)


def _last(texts: Sequence[str]) -> Task:
    return Task("last", LAST, texts[-1], len(texts) - 1)


def _repeat(word: str, texts: Sequence[str], places: dict[str, int]) -> Task:
    return Task("repeat", REPEAT.format(word=word), texts[places[word]], places[word])


def _said(word: str, places: dict[str, int]) -> Task:
    return Task("mentioned", MENTIONED.format(word=word), "yes", places[word])


def _unsaid(word: str) -> Task:
    return Task("mentioned", MENTIONED.format(word=word), "no")


def _earlier(a: str, b: str, places: dict[str, int]) -> Task:
    answer = a if places[a] < places[b] else b
    return Task("earlier", EARLIER.format(a=a, b=b), answer, places[answer])


def _absent_words(texts: Sequence[str], others: Sequence[str]) -> list[str]:
    said = {w for t in texts for w in t.split()}
    return [w for w in others if w not in said and len(w) >= MIN_LETTERS]


def _unique_words(texts: Sequence[str]) -> dict[str, int]:
    """Long words that one segment alone contains, and that segment."""
    holders = Counter(w for t in texts for w in set(t.split()) if len(w) >= MIN_LETTERS)
    return {w: i for i, t in enumerate(texts) for w in t.split() if holders.get(w, 0) == 1}


def is_right(task: Task, answer: str) -> bool:
    """Exact for codes, words and yes/no; for a sentence at most half of its words wrong.

    Case and punctuation do not count: models other than the default one write them. A code is the
    same in figures and spelled out.
    """
    said, heard = _words(task.answer), _words(answer)
    if task.kind == "code":
        return is_number(answer) and figures_of(answer) == task.answer
    if task.kind in ("mentioned", "earlier"):
        return heard == said
    return _edits(said, heard) <= 0.5 * len(said)


def closest_segment(task: Task, answer: str, texts: Sequence[str]) -> int:
    """The segment that the words of `answer` point at, -1 if at none or at several alike.

    A word that n of the N segments contain counts log(N / n); words of the question do not count,
    as everybody knows them. Which sentence is meant is so told apart from how well it was heard.
    """
    asked = set(_words(task.question))
    said = [set(_words(text)) - asked for text in texts]
    holders = Counter(word for words in said for word in words)
    heard = set(_words(answer))
    weights = [sum(log(len(texts) / holders[w]) for w in sorted(heard & words)) for words in said]
    highest = max(weights, default=0.0)
    return weights.index(highest) if highest > 0 and weights.count(highest) == 1 else -1


def _words(text: str) -> list[str]:
    return re.findall(r"[\w']+", text.lower())


def _edits(said: list[str], heard: list[str]) -> int:
    """Levenshtein distance in words."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(said, 1):
        above, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            above, row[j] = row[j], min(above + (word != other), row[j] + 1, row[j - 1] + 1)
    return row[-1]
