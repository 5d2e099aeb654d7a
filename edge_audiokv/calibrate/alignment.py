"""Words with times, and which word each token spells: what audio-critical heads are judged against.

Times come from a manifest that carries them ("words"), from the encoder's own words (the engine's
`alignment`), or from the LLM's own attention (`attention.py`). They are never spread evenly.
Source of the procedure: AudioKV (2604.06694), section on semantic-acoustic alignment.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from edge_audiokv.engine.alignment.text import is_unspaced
from edge_audiokv.errors import InputError
from edge_audiokv.events import Word

_PLAIN = re.compile(r"[^\w']|_")


def words_of(entry: dict[str, Any]) -> list[Word]:
    """The words of a manifest entry: {"words": [{"text", "start_s", "end_s", "confidence"?}]}.

    Raises InputError if there are none or they are malformed.
    """
    try:
        words = [
            Word(
                str(word["text"]),
                float(word["start_s"]),
                float(word["end_s"]),
                float(word.get("confidence", 1.0)),
            )
            for word in entry["words"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"Clip {entry.get('id', '?')} carries no usable word times ({error}).",
            cure='Mend "words", or leave them out: then the model finds the times itself.',
        ) from None
    if any(not 0 <= word.start_s < word.end_s < math.inf for word in words):
        raise InputError(f"Clip {entry.get('id', '?')} has a word that ends before it starts.")
    return words


def span(word: Word, duration_s: float, n_audio: int) -> tuple[int, int]:
    """First and last audio token of `word`, inclusive, on the uniform map floor(t / T * N)."""
    start = int(word.start_s / duration_s * n_audio)
    end = int(word.end_s / duration_s * n_audio)
    last = max(0, n_audio - 1)
    return min(start, last), min(max(end, start), last)


def plain(text: str) -> str:
    """Lower case, letters of any script, digits and apostrophes only."""
    return _PLAIN.sub("", text.lower())


def align_tokens(
    pieces: Sequence[str], words: Sequence[Word], *, reach: int = 8
) -> list[int | None]:
    """Which word each token belongs to, greedily from left to right; None for the rest.

    `pieces` are the tokens' texts in order; a piece that opens with a space starts a new word, and
    so does one of a script without spaces, of which a token may be several words. What is spelt
    takes the next equal words at most `reach` words ahead of the last match.
    """
    result: list[int | None] = [None] * len(pieces)
    at = 0
    for start, stop in _spelt(pieces):
        text = plain("".join(pieces[start:stop]))
        if not text:
            continue
        for index in range(at, min(len(words), at + reach)):
            n_words = _n_spelt(text, words[index : index + reach])
            if n_words:
                result[start:stop] = [index] * (stop - start)
                at = index + n_words
                break
    return result


def _n_spelt(text: str, words: Sequence[Word]) -> int:
    """How many of `words`, from the first on, make up `text`; 0 if they do not."""
    spelt = ""
    for n_words, word in enumerate(words, 1):
        spelt += plain(word.text)
        if spelt == text:
            return n_words
        if not text.startswith(spelt) or not is_unspaced(spelt[-1:] or " "):
            break
    return 0


def _spelt(pieces: Sequence[str]) -> list[tuple[int, int]]:
    """Runs of tokens that spell a word each, or more where words have no spaces between them."""
    starts, before = [], " "
    for at, piece in enumerate(pieces):
        opens = piece[:1].isspace() or is_unspaced(piece[:1] or "x")
        if at == 0 or opens or (is_unspaced(before) and piece[:1].isalnum()):
            starts.append(at)
        before = piece[-1:] or before
    return list(zip(starts, [*starts[1:], len(pieces)], strict=True)) if starts else []
