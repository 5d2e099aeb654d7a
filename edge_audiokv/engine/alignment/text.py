"""The words of a written text, and their letters as encoders with a vocabulary spell them."""

from __future__ import annotations

import unicodedata

# Scripts that are written without spaces: there each character is a word.
_UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "IDEOGRAPHIC")


def word_spans(text: str) -> list[tuple[int, int]]:
    """[start, end) of each word in `text`: what stands between spaces.

    Marks that stand alone belong to the word before them, or to the first one. Where a script has
    no spaces each character is a word, with the marks that follow it.
    """
    spans: list[tuple[int, int]] = []
    for start, end in _units(text):
        if spans and not (letters(text[slice(*spans[-1])]) and letters(text[start:end])):
            spans[-1] = spans[-1][0], end
        else:
            spans.append((start, end))
    return spans


def _units(text: str) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    start: int | None = None
    for at, char in enumerate(text):
        if char.isspace():
            if start is not None:
                spans.append((start, at))
            start = None
        elif start is None:
            start = at
        elif is_unspaced(char) or (char.isalnum() and is_unspaced(text[at - 1])):
            spans.append((start, at))
            start = at
    if start is not None:
        spans.append((start, len(text)))
    return spans


def letters(word: str) -> list[tuple[int, str]]:
    """(place in `word`, lower-case letter) of all that can be heard: letters, digits, apostrophes.

    An apostrophe at either end is a quotation mark.
    """
    heard = [
        (at, lower)
        for at, char in enumerate(word.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))
        for lower in char.lower()
        if lower.isalnum() or lower == "'" or unicodedata.category(lower).startswith("M")
    ]
    while heard and heard[0][1] == "'":
        del heard[0]
    while heard and heard[-1][1] == "'":
        del heard[-1]
    return heard


def is_unspaced(char: str) -> bool:
    """Is this a character of a script that is written without spaces?"""
    return char > "\u0dff" and unicodedata.name(char, "").startswith(_UNSPACED)
