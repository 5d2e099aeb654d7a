"""Rows to seconds: when each word begins and ends.

CTC names a word in one row, as a rule the first that holds enough of it (a spike). A word begins a
little before its spike and lasts, past its last one, as long as its letters take, at most until the
next word begins.
"""

from __future__ import annotations

from edge_audiokv.engine.alignment.place import Alignment
from edge_audiokv.events import Word

# How long before the middle of its first row a word begins.
_LEAD_S = 0.04
# How long words last at least, and for each letter at most: slow speech has pauses beside.
_LEAST_S = 0.06
_BASE_S, _LETTER_S = 0.16, 0.06


def timed(alignment: Alignment, *, frame_s: float, start_s: float = 0.0) -> tuple[Word, ...]:
    """Words with times from `start_s` on, in order, never overlapping, inside the sound."""
    end_s = alignment.n_rows * frame_s
    starts = [
        min(max(0.0, (word.first + 0.5) * frame_s - _LEAD_S), end_s) for word in alignment.words
    ]
    afters = [*starts[1:], end_s][: len(starts)]
    words = []
    for word, begin, after in zip(alignment.words, starts, afters, strict=True):
        letters = word.end - word.start
        reach = max(begin + _BASE_S + _LETTER_S * letters, (word.last + 1) * frame_s)
        end = max(begin, min(after, max(reach, begin + _LEAST_S)))
        words.append(Word(word.text, start_s + begin, start_s + end, word.confidence))
    return tuple(words)
