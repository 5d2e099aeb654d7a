"""What was read in order, laid over what was heard row by row.

Each word that was read takes a row of the sound: the one where the encoder heard the same word, if
that is near, or else the middle of the frames that the reader looked at. The two beliefs are mixed,
so that what the reader left out or misread is still there to be found.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from .dtw import token_frames
from .reader import FRAME_S, MAX_S, RATE_HZ, WhisperReader
from .reading import Step, ends_word
from .sound import Sound

# Rows to either side in which the encoder may have heard the same word, and its least belief in it.
_NEAR_ROWS, _HEARD = 3, 0.1
# Readers write even where nobody speaks. So a word is borne out by the belief that the encoder has
# in any words near it, all of it from `_SPOKEN` on; and a reading by the mean of its words, each as
# surely read as it was: speech has 0.6 and more, sounds without it seldom 0.4.
_SPOKEN, _BORNE_OUT = 1.0, 0.5
# Between two words that lie so many rows apart something was passed over, if anything was said:
# readers leave out what is said again and again, and the end of what they lost. There the rows are
# as they were heard, but for those next to the two words.
_PASSED_ROWS = 20
# A word that is read with less belief than this gives way to one beside it that is heard with more
# than that: readers guess at what they cannot spell, and the encoder alone may know it.
_GUESSED, _SURELY_HEARD = 0.35, 0.9
# Digits that are said one after another, at least so many and each heard with more than this
# belief: a reader that may write no figures loses its way there, and what is heard counts alone,
# unless the same is read. Of two that are alike the encoder may hear one, and the reader both.
_DIGITS_TEXT = "zero one two three four five six seven eight nine"
_DIGITS = frozenset(f" {digit}" for digit in _DIGITS_TEXT.split())
_ROW_OF_DIGITS, _DIGIT_HEARD = 3, 0.3
# Silence is never ruled out.
_MOST = 0.98


@dataclass(frozen=True)
class Spot:
    """A word that was read: texts and beliefs of all ways to write it, rows [first, last], and how
    surely it was read there, be it against a mark or the end.
    """

    ways: dict[str, float]
    first: int
    last: int
    belief: float

    @property
    def text(self) -> str:
        return max(self.ways, key=lambda way: self.ways[way])


def spots(
    steps: Sequence[Step],
    words: Sequence[str],
    texts: Sequence[str],
    names: Container[str],
    frames: tuple[NDArray[np.int32], NDArray[np.int32]],
    frames_per_row: float,
) -> list[Spot]:
    """The words among `steps`: `words` says which one each token is, `texts` what it writes,
    `names` which words there are, `frames` where each step lies.
    """
    found = []
    parted = False
    for step, first, last in zip(steps, *frames, strict=False):
        follows_mark, parted = parted, ends_word(texts[step.token], parted)
        if not words[step.token]:
            continue
        ways: dict[str, float] = {}
        for token, belief in zip(step.tokens.tolist(), step.beliefs.tolist(), strict=True):
            word = words[token]
            # After a hyphen or a quotation mark a word begins without a space.
            if follows_mark and f" {word}" in names:
                word = f" {word}"
            if word:
                ways[word] = ways.get(word, 0.0) + belief
        total = sum(ways.values())
        # Where no mark is written, a word is: what marks were believed goes to the words.
        ways = {way: _MOST * belief / total for way, belief in ways.items()}
        rows = int(first / frames_per_row), int(last / frames_per_row)
        found.append(Spot(ways, *rows, float(step.beliefs[0])))
    return found


def weave(
    sound: Sound, heard: Sequence[str], read: Sequence[Spot], names: dict[str, int], *, share: float
) -> Sound:
    """`sound` with the words that were `read` believed by `share`, those heard by the rest.

    `heard` is the encoder's vocabulary, `names` the index of every text that can be read. Where the
    reader passed over what was said, only what was heard counts, as in a sound that does not bear
    the reading out.
    """
    sure = _borne_out(sound, read)
    weights = [trust * spot.belief for trust, spot in zip(sure, read, strict=True)]
    if not read or np.mean(weights) < _BORNE_OUT:
        return sound
    n_rows = len(sound)
    rows = _rows(sound, heard)
    placed: dict[int, dict[str, float]] = {}
    at_row: dict[int, Spot] = {}
    row, before = -1, ""
    for spot, trust in zip(read, sure, strict=True):
        near = range(max(row + 1, spot.first - _NEAR_ROWS), min(n_rows, spot.last + _NEAR_ROWS + 1))
        same = [(rows[at].get(spot.text, 0.0), -at) for at in near]
        belief, at = max(same, default=(0.0, 0))
        chosen = -at if belief > _HEARD else (spot.first + spot.last) // 2
        # A word that is said again needs silence before it.
        chosen = max(chosen, row + 1 + (spot.text == before))
        if chosen >= n_rows:
            break
        row, before = chosen, spot.text
        at_row[row] = spot
        placed[row] = {way: belief * trust for way, belief in spot.ways.items()}
    spelled = _spelled(rows, at_row)
    at_row = {at: spot for at, spot in at_row.items() if not spelled[at]}
    placed = {at: ways for at, ways in placed.items() if not spelled[at]}
    width = sound.words.shape[1] + max((len(ways) for ways in placed.values()), default=0)
    words = np.zeros((n_rows, width), np.int32)
    beliefs = np.zeros((n_rows, width), np.float32)
    passed = _pieces_of_words(_passed_over(list(placed), n_rows), rows)
    better, given_up = _better_heard(at_row, rows)
    for at in range(n_rows):
        kept = 1.0 if passed[at] or spelled[at] or at in better else 1.0 - share
        mixed = {text: belief * kept for text, belief in rows[at].items()}
        weight = share * at_row[at].belief if at in given_up else share
        for text, belief in placed.get(at, {}).items():
            mixed[text] = mixed.get(text, 0.0) + weight * belief
        ranked = sorted(mixed.items(), key=lambda item: -item[1])
        for k, (text, belief) in enumerate(ranked):
            words[at, k], beliefs[at, k] = names[text], belief
    return Sound(sound.embeddings, words, beliefs, in_order=True)


def _rows(sound: Sound, heard: Sequence[str]) -> list[dict[str, float]]:
    """Belief by text in each row; a word that stands there in two cases is one word."""
    rows = []
    for words, beliefs in zip(sound.words.tolist(), sound.beliefs.tolist(), strict=True):
        row: dict[str, float] = {}
        for word, belief in zip(words, beliefs, strict=True):
            if belief > 0:
                row[heard[word]] = row.get(heard[word], 0.0) + belief
        rows.append(row)
    return rows


def _better_heard(
    read: dict[int, Spot], rows: Sequence[dict[str, float]]
) -> tuple[set[int], set[int]]:
    """Rows in which a word is heard so surely that what is guessed beside it is not believed, and
    the rows of those guesses. `read` has the words by row, ascending.
    """
    better: set[int] = set()
    given_up: set[int] = set()
    ends = [-1, *read, len(rows)]
    for before, after in pairwise(ends):
        beside = [at for at in (before, after) if at in read]
        guesses = {at for at in beside if read[at].belief < _GUESSED}
        known = {read[at].text for at in beside if at not in guesses}
        if not guesses:
            continue
        for at in range(before + 1, min(after + 1, len(rows))):
            heard, belief = max(rows[at].items(), key=itemgetter(1), default=("", 0.0))
            if belief > _SURELY_HEARD and heard not in known:
                better.add(at)
                given_up |= guesses
    return better, given_up


def _spelled(rows: Sequence[dict[str, float]], read: dict[int, Spot]) -> NDArray[np.bool_]:
    """Rows [T] from the first digit of such a row of digits to its last, and those beside them in
    which no other word is heard. `read` has the words by row, ascending.
    """
    best = [max(row.items(), key=itemgetter(1), default=("", 0.0)) for row in rows]
    texts = [text if belief > _DIGIT_HEARD else "" for text, belief in best]
    # A word goes on for as many rows as it is heard in.
    named = [
        (at, new) for at, (old, new) in enumerate(pairwise(["", *texts])) if new and new != old
    ]
    spelled = np.zeros(len(rows), np.bool_)
    ends = [(-1, ""), *named, (len(rows), "")]
    first = 1
    for at in range(1, len(ends)):
        if ends[at][1] in _DIGITS:
            continue
        if at - first >= _ROW_OF_DIGITS:
            begin = max(ends[first - 1][0] + 1, ends[first][0] - _NEAR_ROWS)
            heard = [text for _, text in ends[first:at]]
            # What is heard beside them may be read a few rows further.
            beside = ends[first - 1][1], ends[at][1]
            inside = [spot.text for row, spot in read.items() if begin <= row < ends[at][0]]
            there = [text for text in inside if text not in beside]
            same = [text for text, _ in groupby(there)] == [text for text, _ in groupby(heard)]
            spelled[begin : ends[at][0]] = not same or len(there) < len(heard)
        first = at + 1
    return spelled


def _passed_over(placed: Sequence[int], n_rows: int) -> NDArray[np.bool_]:
    """Rows [T] that lie between words that are far apart; `placed` are their rows, ascending."""
    passed = np.zeros(n_rows, np.bool_)
    # Half of such a stretch is enough before the first word and after the last.
    ends = [-_PASSED_ROWS // 2, *placed, n_rows + _PASSED_ROWS // 2]
    for before, after in pairwise(ends):
        if after - before > _PASSED_ROWS:
            passed[max(0, before + _NEAR_ROWS + 1) : max(0, after - _NEAR_ROWS)] = True
    return passed


def _pieces_of_words(
    passed: NDArray[np.bool_], rows: Sequence[dict[str, float]]
) -> NDArray[np.bool_]:
    """`passed` without the pieces, in each stretch, that a word which was read ends in: the encoder
    may name one in several, of which only the first begins with a space.
    """
    kept = passed.copy()
    inside = False
    for at, row in enumerate(rows):
        text = max(row, key=lambda piece: row[piece], default="")
        if not passed[at] or (row.get(text, 0.0) > _HEARD and text.startswith(" ")):
            inside = bool(passed[at])
        elif not inside:
            kept[at] = False
    return kept


def _borne_out(sound: Sound, read: Sequence[Spot]) -> list[float]:
    """How far what was heard bears out that a word is said, for each that was read, in [0, 1]."""
    spoken = np.append(0.0, np.cumsum(sound.beliefs.sum(axis=1)))
    last = len(sound)
    found = []
    for spot in read:
        after = spoken[min(last, spot.last + _NEAR_ROWS + 1)]
        before = spoken[min(last, max(0, spot.first - _NEAR_ROWS))]
        found.append(min(1.0, float(after - before) / _SPOKEN))
    return found


class OrderedWords:
    """Lays what `reader` reads over what an encoder with the vocabulary `heard` names."""

    def __init__(self, reader: WhisperReader, heard: Sequence[str], *, share: float) -> None:
        self.reader, self.share = reader, share
        # One vocabulary for both: the encoder's own words keep their indices.
        self.words = (*heard, *reader.words)
        self._heard = heard
        self._names = {word: at for at, word in reversed(list(enumerate(self.words)))}

    def amend(self, audio: NDArray[np.float32], sound: Sound) -> Sound:
        """`sound`, which the encoder made of `audio` [S], with the words that are read in it.

        What is longer than a reader takes stays as it is.
        """
        if not len(sound) or len(audio) > MAX_S * RATE_HZ:
            return sound
        steps = self.reader.read(audio)
        frames = token_frames(np.stack([step.looks for step in steps]))
        frames_per_row = len(audio) / RATE_HZ / FRAME_S / len(sound)
        texts, words = self.reader.texts, self.reader.words
        read = spots(steps, words, texts, self._names, frames, frames_per_row)
        woven = weave(sound, self._heard, read, self._names, share=self.share)
        if not woven.in_order:
            return woven
        return replace(woven, reading="".join(texts[step.token] for step in steps).strip())
