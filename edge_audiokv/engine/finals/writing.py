"""A text as people write it: capitals and marks from a reading in order, words from the LLM.

The default LLM writes words alone, lower case. What reads beside it (`encoder/reading.py`) writes
sentences, and now and then another word: so its words are laid beside the LLM's, and where they
meet, what surrounds the letters is taken over.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher

# Marks, letters with what is written inside a word, marks.
_PARTS = re.compile(r"^(\W*)(.*?)([^\w']*)$", re.DOTALL)
_SENTENCE_ENDS = (".", "!", "?")
_MARKS = '.,;:?!"'
# Words with a capital in a text that has none of its own, at most.
_STRAY_SHARE = 1 / 8


def as_written(text: str, reading: str) -> str:
    """`text` with capitals and marks from `reading`; it keeps its words, and as many of them.

    Words are those that white space parts. A text that has capitals or marks itself stays as it is,
    and so does any text if there is no reading; a stray capital is none of its own.
    """
    said = text.split()
    read = [_parts(word) for word in reading.split()]
    read = [parts for parts in read if parts[1]]
    if not said or not read or not _is_plain(said):
        return text
    said = [word.lower() for word in said]
    written = list(said)
    # Words that stand where the reader began a sentence.
    first_of_sentence: set[int] = set()
    letters = [parts[1].lower() for parts in read]
    for kind, first, last, at, end in SequenceMatcher(None, said, letters, False).get_opcodes():
        if kind == "equal" or last - first == end - at:
            for place, like in zip(range(first, last), range(at, end), strict=True):
                before, model, after = read[like]
                word = model if kind == "equal" else _capital_as(said[place], model)
                written[place] = before + word + after
                if like == 0 or _ends(read[like - 1][2]):
                    first_of_sentence.add(place)
        elif last > first and end > at:
            written[first] = _capital_as(said[first], read[at][1])
            written[last - 1] += read[end - 1][2]
        elif last == first and first > 0 and written[first - 1][-1:].isalnum():
            # A word that the LLM left out may have ended the sentence.
            written[first - 1] += read[end - 1][2]
    for place in range(1, len(written)):
        if _ends(written[place - 1]):
            written[place] = _capital(written[place])
        elif place in first_of_sentence and said[place] != "i" and said[place][:2] != "i'":
            written[place] = written[place].lower()
    return " ".join(written)


def plain_words(reading: str) -> str:
    """The words of `reading` as the LLM may write them: small letters, no marks and no figures."""
    kept = (char if char.isalpha() or char == "'" else " " for char in reading.lower())
    return " ".join("".join(kept).split())


def each_as_written(words: Sequence[str], text: str) -> list[str]:
    """The `words` of a text as they stand in it now that it is written as `text`."""
    written = text.split()
    return written if len(written) == len(words) else list(words)


def _is_plain(words: Sequence[str]) -> bool:
    if any(mark in word for word in words for mark in _MARKS):
        return False
    # An LLM that writes small letters alone may still take a piece with a capital.
    return sum(word != word.lower() for word in words) <= _STRAY_SHARE * len(words)


def _parts(word: str) -> tuple[str, str, str]:
    found = _PARTS.match(word)
    return (found[1], found[2], found[3]) if found else ("", word, "")


def _ends(text: str) -> bool:
    return text.endswith(_SENTENCE_ENDS)


def _capital_as(word: str, model: str) -> str:
    return _capital(word) if model[:1].isupper() else word


def _capital(word: str) -> str:
    return word[:1].upper() + word[1:]
