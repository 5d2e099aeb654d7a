"""What an answer can be held against: turns that bear it out."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from edge_audiokv.archive.search import figures_of, is_number, telling_words
from edge_audiokv.events import Source

if TYPE_CHECKING:
    from edge_audiokv.archive.turn import Turn

# "harbinger" is heard for "harbor"; "garage" is no cellar.
_LEAST_LIKENESS = 0.6


def sources_of(answer: str, turns: Sequence[Turn], *, since_s: float) -> tuple[Source, ...]:
    """Those of `turns` that hold telling words of `answer`, at least half as many as the one that
    holds the most; all of them for a yes or a no.

    The cache still has rows of what began at `since_s` or later.
    """
    said = telling_words(answer) - {"yes"}
    shared = [len(said & telling_words(turn.text)) for turn in turns]
    least = max(shared, default=0) / 2
    return tuple(
        Source(turn.start_s, turn.end_s, turn.text, in_cache=turn.start_s >= since_s)
        for turn, n_words in zip(turns, shared, strict=True)
        if not said or (n_words and n_words >= least)
    )


def bears_out(turn: Turn, answer: str) -> bool:
    """Was `answer` said in `turn`: a number as it stands, else at least half of its telling words?

    One word is shared by chance, and so is a digit of another number; and a small model leaves out
    one that is said twice.
    """
    if is_number(answer):
        return figures_of(answer) in figures_of(turn.text).split()
    said = telling_words(answer)
    return bool(said) and 2 * len(said & telling_words(turn.text)) >= len(said)


def is_one_of_many(number: str, sought: str, turns: Sequence[Turn]) -> bool:
    """Do `turns` hold other numbers like this answer that fit the words `sought` as well, while a
    word that would tell which is meant was not heard, nor one like it where the answer was said?

    "The code of the cellar" fits the codes of kitchen and hall alike; if "the code of the seller"
    was heard, it is that.
    """
    words = set(sought.split())
    said = [telling_words(turn.text) for turn in turns]
    missing = words.difference(*said)
    if not missing:
        return False
    figures = figures_of(number)
    most = max((len(words & each) for each in said), default=0)
    nearest: dict[str, float] = {}
    for turn, each in zip(turns, said, strict=True):
        if len(words & each) == most:
            near = max((_likeness(a, b) for a in missing for b in each - words), default=0.0)
            for found in figures_of(turn.text).split():
                if len(found) == len(figures):
                    nearest[found] = max(near, nearest.get(found, 0.0))
    mine = nearest.pop(figures, 0.0)
    return bool(nearest) and mine <= max(*nearest.values(), _LEAST_LIKENESS)


def _likeness(a: str, b: str) -> float:
    """From 0 to 1: how much of two words is the same, in order (Ratcliff and Obershelp, 1988)."""
    return SequenceMatcher(None, a, b, autojunk=False).ratio()
