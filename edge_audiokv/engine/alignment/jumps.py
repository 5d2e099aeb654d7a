"""Does a written text follow the sound? What it leaves out, tells twice, or makes up.

The encoder's own words, read greedily (`Sound.best_path`), are in the order of the sound and never
skip or repeat, but are often misheard; the LLM's text reads better, but may lose its place. So the
two are aligned word by word (global alignment with affine gaps, Gotoh 1982): single words differ
all the time, a run of them means that the place was lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np

from edge_audiokv.encoder.sound import Sound
from edge_audiokv.engine.alignment.text import letters, word_spans

# A run that is left out or told too often, and one that reads otherwise.
_MIN_RUN, _MIN_MISREAD = 3, 6
# Mean belief in words that a text may be blamed for leaving out.
_MIN_BELIEF = 0.5
# Spelt alike this far, two words are one that was misheard.
_ALIKE = 0.6
_OTHER, _OPEN, _GAP = 1.0, 0.6, 0.7


@dataclass(frozen=True)
class HeardWord:
    """A word of the encoder's likeliest path: the rows [first, last], and the belief in it."""

    text: str
    first: int
    last: int
    belief: float


@dataclass(frozen=True)
class Jump:
    """`n_left_out` heard words are not written, `n_too_many` written ones were not heard.

    The text follows the sound for its first `n_chars` characters, up to the row `row`.
    """

    n_chars: int
    row: int
    n_left_out: int
    n_too_many: int

    @property
    def n_astray(self) -> int:
        return max(self.n_left_out, self.n_too_many)


def heard_words(sound: Sound, vocabulary: Sequence[str]) -> list[HeardWord]:
    """What the encoder itself would write; `vocabulary` is `Encoder.words`, or empty if its words
    are not to count.
    """
    if not vocabulary or not len(sound) or not sound.words.shape[1]:
        return []
    silence = 1 - sound.beliefs.sum(axis=1)
    top = sound.beliefs.argmax(axis=1)
    rows = np.arange(len(sound))
    belief = sound.beliefs[rows, top]
    best = np.where(belief > silence, sound.words[rows, top], -1)
    starts = np.flatnonzero(np.append(True, best[1:] != best[:-1]))
    words: list[HeardWord] = []
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(sound)], strict=True):
        if best[start] < 0:
            continue
        piece = vocabulary[int(best[start])]
        own = "".join(letter for _, letter in letters(piece))
        sure = float(belief[start:end].max())
        if words and not piece.startswith(" "):
            last = words[-1]
            words[-1] = HeardWord(last.text + own, last.first, end - 1, min(last.belief, sure))
        elif own:
            words.append(HeardWord(own, start, end - 1, sure))
    return words


def find_jumps(text: str, heard: Sequence[HeardWord]) -> list[Jump]:
    """Where `text` does not follow the words that were `heard`, in order. Empty if it does.

    Without words heard nothing can be told.
    """
    if not heard:
        return []
    spans = word_spans(text)
    written = ["".join(letter for _, letter in letters(text[slice(*span)])) for span in spans]
    jumps = []
    for w_first, w_last, h_first, h_last in _runs(_steps(written, [word.text for word in heard])):
        n_written, missed = w_last - w_first, heard[h_first:h_last]
        n_more = n_written - len(missed)
        if max(n_written, len(missed)) < _MIN_MISREAD and abs(n_more) < _MIN_RUN:
            continue
        believed = bool(missed) and np.mean([word.belief for word in missed]) >= _MIN_BELIEF
        n_left_out = len(missed) if believed else 0
        if not n_left_out and n_more < _MIN_RUN:
            continue
        # The row in which the text left the sound: before the next heard word, after the last one.
        row = heard[h_first].first - 1 if h_first < len(heard) else heard[-1].last + 1
        row = max(row, heard[h_first - 1].last + 1 if h_first else 0)
        n_chars = spans[w_first - 1][1] if w_first else 0
        jumps.append(Jump(n_chars, row, n_left_out, n_written))
    return jumps


def _runs(steps: Sequence[tuple[int, int, bool]]) -> list[tuple[int, int, int, int]]:
    """[first, last) of the written and of the heard words of each run without an agreement."""
    runs = []
    w_done = h_done = 0
    w_at = h_at = 0
    for w_at, h_at, agree in steps:
        if agree:
            if w_at - 1 > w_done or h_at - 1 > h_done:
                runs.append((w_done, w_at - 1, h_done, h_at - 1))
            w_done, h_done = w_at, h_at
    if w_at > w_done or h_at > h_done:
        runs.append((w_done, w_at, h_done, h_at))
    return runs


def _steps(written: Sequence[str], heard: Sequence[str]) -> list[tuple[int, int, bool]]:
    """(written words, heard words, do the last two agree) after each step of the best alignment.

    Of equally good ones it takes that which agrees early: what is told once is the first round.
    """
    # What agrees at both ends needs no search, which takes time by the square of the rest.
    n, m = len(written), len(heard)
    same = next((k for k in range(min(n, m)) if written[k] != heard[k]), min(n, m))
    left = min(n, m) - same
    tail = next((k for k in range(left) if written[n - 1 - k] != heard[m - 1 - k]), left)
    inner = _search(written[same : n - tail], heard[same : m - tail])
    return [
        *((k + 1, k + 1, True) for k in range(same)),
        *((i + same, j + same, agree) for i, j, agree in inner),
        *((n - k, m - k, True) for k in range(tail - 1, -1, -1)),
    ]


def _search(written: Sequence[str], heard: Sequence[str]) -> list[tuple[int, int, bool]]:
    # Backwards, so that the steps come out forwards and agreement is taken as soon as it is there.
    n, m = len(written), len(heard)
    never = float("inf")
    # Best costs of the rest from (i, j): after a pair, inside a run of heard, of written words.
    pair = [[0.0] * (m + 1) for _ in range(n + 1)]
    skip = [[never] * (m + 1) for _ in range(n + 1)]
    more = [[never] * (m + 1) for _ in range(n + 1)]
    for i in range(n, -1, -1):
        word = written[i] if i < n else None
        p_now, s_now, m_now = pair[i], skip[i], more[i]
        p_next, m_next = (pair[i + 1], more[i + 1]) if i < n else ([], [])
        for j in range(m, -1, -1):
            if i == n and j == m:
                skip[i][j] = more[i][j] = 0.0
                continue
            s = _GAP + s_now[j + 1] if j < m else never
            w = _GAP + m_next[j] if word is not None else never
            p = never
            if word is not None and j < m:
                p = p_next[j + 1] + (0.0 if word == heard[j] else _OTHER)
            p_now[j] = best = min(p, _OPEN + s, _OPEN + w)
            s_now[j] = min(s, best)
            m_now[j] = min(w, best)
    return _walk(written, heard, (pair, skip, more))


def _walk(
    written: Sequence[str], heard: Sequence[str], costs: tuple[list[list[float]], ...]
) -> list[tuple[int, int, bool]]:
    pair, skip, more = costs
    n, m = len(written), len(heard)
    steps = []
    i = j = 0
    run = ""
    while i < n or j < m:
        now = {"": pair, "skip": skip, "more": more}[run][i][j]
        goes_on = False
        if run == "skip":
            goes_on = j < m and _GAP + skip[i][j + 1] <= now + 1e-9
        elif run == "more":
            goes_on = i < n and _GAP + more[i + 1][j] <= now + 1e-9
        if run and not goes_on:
            run = ""
            now = pair[i][j]
        if not run and i < n and j < m:
            other = 0.0 if written[i] == heard[j] else _OTHER
            if pair[i + 1][j + 1] + other <= now + 1e-9:
                agree = not other or _alike(written[i], heard[j])
                i, j = i + 1, j + 1
                steps.append((i, j, agree))
                continue
        if run == "skip" or (not run and j < m and _OPEN + _GAP + skip[i][j + 1] <= now + 1e-9):
            run, j = "skip", j + 1
        else:
            run, i = "more", i + 1
        steps.append((i, j, False))
    return steps


def _alike(one: str, other: str) -> bool:
    return SequenceMatcher(None, one, other, autojunk=False).ratio() >= _ALIKE
