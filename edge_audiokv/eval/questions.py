"""Questions about what was said in a join of utterances; answers are exact, as the texts are known.

Sentences (what was said first, last, with a given word) count as right if at most half of their
words are wrong; yes/no and which-came-first exactly, so chance is one half there.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_audiokv.eval.wer import Hypothesis, Utterance, score_clip

KINDS = ("first", "last", "repeat", "mentioned", "earlier")
CHANCE = {"mentioned": 0.5, "earlier": 0.5}
MIN_LETTERS = 5


@dataclass(frozen=True)
class Question:
    """One question with its exact answer."""

    kind: str
    text: str
    answer: str


def questions(texts: Sequence[str], others: Sequence[str], *, seed: int = 0) -> list[Question]:
    """One question of each kind (two of `mentioned`: one yes, one no) over plain texts in order.

    `others` are words of other recordings, to ask about what was not said. Kinds that the texts do
    not allow are left out.
    """
    rng = random.Random(seed)
    found = [
        Question("first", "What was said first?", texts[0]),
        Question("last", "What was said last?", texts[-1]),
    ]
    holders = Counter(word for text in texts for word in set(text.split()))
    place = {
        word: index
        for index, text in enumerate(texts)
        for word in text.split()
        if len(word) >= MIN_LETTERS and holders[word] == 1
    }
    if place:
        word = rng.choice(sorted(place))
        asked = f'Repeat the sentence with the word "{word}".'
        found.append(Question("repeat", asked, texts[place[word]]))
        word = rng.choice(sorted(place))
        found.append(Question("mentioned", f'Was the word "{word}" said?', "yes"))
    absent = sorted({w for w in others if w not in holders and len(w) >= MIN_LETTERS})
    if absent:
        found.append(Question("mentioned", f'Was the word "{rng.choice(absent)}" said?', "no"))
    if len(set(place.values())) > 1:
        a = b = rng.choice(sorted(place))
        while place[a] == place[b]:
            b = rng.choice(sorted(place))
        asked = f'Which word was said earlier, "{a}" or "{b}"?'
        found.append(Question("earlier", asked, a if place[a] < place[b] else b))
    return found


def is_right(question: Question, answer: str) -> bool:
    """Exact for words and yes/no, at most half of the words wrong for a sentence."""
    if question.kind in CHANCE:
        return answer.strip().lower().rstrip(".") == question.answer
    expected = Utterance("", Path(), question.answer, "")
    score = score_clip(expected, Hypothesis(answer))
    return score.edits <= 0.5 * score.words
