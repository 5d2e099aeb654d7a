"""What the encoder's own words say of a text: the best CTC path that begins with it.

CTC (Graves et al. 2006) reads a word, or silence, from every row; repeats merge. The score of a
text is the log probability of the likeliest path whose words begin with that text, and of a whole
text that of the likeliest path that says it and no more. Watanabe et al. 2017 (section II-C,
doi:10.1109/JSTSP.2017.2763455) sum over paths and share one vocabulary with the decoder; here the
likeliest path stands for the sum (Viterbi), and texts are compared letter by letter, since the LLM
cuts words otherwise than the encoder does.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_audiokv.encoder.sound import Sound

# Silence is never ruled out: an encoder may be sure of too much.
_LEAST_SILENCE = 1e-3
# Likelihoods of looked-up pieces that are kept; more than a long segment asks for.
_MAX_KEPT = 1024
# Stands for log 0 in sums, where infinities would cancel to nothing.
_NEVER = -1e4

Log = NDArray[np.float64]


@dataclass(frozen=True)
class Column:
    """Log probabilities after 0..T rows of having said a text up to one place, [T + 1] each.

    `silent` paths end in silence there, those of `spoken[piece]` in that piece.
    """

    silent: Log
    spoken: dict[str, Log]

    def best(self, without: Iterable[str] = ()) -> Log:
        """Best of all paths, or of those that do not end in a piece of `without`."""
        best = self.silent
        for piece, path in self.spoken.items():
            if piece not in without:
                best = np.maximum(best, path)
        return best


@dataclass(frozen=True)
class Prefix:
    """A text with its score and the columns that longer texts are reckoned from."""

    text: str
    score: float
    columns: dict[int, Column]


class CtcPrefix:
    """Scores texts against one sound.

    `words` is the encoder's vocabulary. Any piece of text may be said in any row with a belief of
    `floor`: not all words are in the vocabulary, nor among the likeliest of a row. `log_floor` is
    its logarithm.
    """

    def __init__(self, sound: Sound, words: Sequence[str], *, floor: float) -> None:
        self._n_rows = len(sound)
        self.log_floor = float(np.log(floor)) if floor > 0 else -np.inf
        silence = np.maximum(1.0 - sound.beliefs.sum(axis=1, dtype=np.float64), _LEAST_SILENCE)
        self._log_silence: Log = np.log(silence)
        rows: dict[str, tuple[list[int], list[float]]] = {}
        for row, (names, beliefs) in enumerate(zip(sound.words, sound.beliefs, strict=True)):
            for name, belief in zip(names.tolist(), beliefs.tolist(), strict=True):
                if belief > 0 and words[name]:
                    at, values = rows.setdefault(words[name], ([], []))
                    at.append(row)
                    values.append(belief)
        self._rows = rows
        self._texts = sorted(rows)
        self._longest = max(map(len, rows), default=1)
        self._kept: dict[tuple[str, bool], Log | None] = {}
        likeliest = silence.copy()
        if sound.beliefs.shape[1]:
            likeliest = np.maximum(likeliest, sound.beliefs.max(axis=1))
        # Best of what may follow from each row on; none after the last.
        self._rest: Log = np.append(np.cumsum(np.log(likeliest)[::-1])[::-1], 0.0)

    def start(self) -> Prefix:
        """The empty text, which every path begins with."""
        silent = np.append(0.0, np.cumsum(self._log_silence))
        return Prefix("", float(self._rest[0]), {0: Column(silent, {})})

    def extend(self, prefix: Prefix, more: str) -> Prefix:
        """`prefix` with `more` text after it; its score is never higher."""
        if not more:
            return prefix
        old_end, text = len(prefix.text), prefix.text + more
        columns = dict(prefix.columns)
        for end in range(old_end + 1, len(text) + 1):
            spoken = {}
            for start, column in columns.items():
                free = start == old_end and end == len(text)
                emitted = self._emitted(text[start:end], free)
                if emitted is not None:
                    piece = text[start:end]
                    spoken[piece] = _stay(emitted, column.best((piece,)))
            if spoken:
                best = np.maximum.reduce(list(spoken.values()))
                columns[end] = Column(_stay(self._log_silence, best), spoken)
        score = max(
            self._begun(text[start:], column, free=start == old_end)
            for start, column in columns.items()
            if start < len(text)
        )
        near = {at: c for at, c in columns.items() if at > len(text) - self._longest}
        if len(text) not in near:
            never: Log = np.full(self._n_rows + 1, -np.inf)
            near[len(text)] = columns.get(len(text), Column(never, {}))
        return Prefix(text, min(score, prefix.score), near)

    def whole(self, prefix: Prefix) -> float:
        """Score of the text of `prefix` as all that is said."""
        return float(prefix.columns[len(prefix.text)].best()[-1])

    def goes_on(self, prefix: Prefix, most: int) -> list[str]:
        """What most likely follows the text of `prefix`, likeliest first: the rest of a word that
        was heard, or the next one. At most `most` texts.
        """
        found: dict[str, float] = {}
        for start, column in prefix.columns.items():
            rest = prefix.text[start:]
            for piece in self._begin_with(rest):
                if piece == rest:
                    continue
                score = self._entered(self._emitted(piece, False), column.best((piece,)))
                more = piece[len(rest) :]
                found[more] = max(score, found.get(more, -np.inf))
        ranked = sorted(found, key=lambda more: -found[more])
        return [more for more in ranked[:most] if found[more] > -np.inf]

    def _begun(self, rest: str, column: Column, *, free: bool) -> float:
        """Best path that goes on from `column` with a piece that is `rest` or begins with it."""
        same = tuple(piece for piece in column.spoken if piece.startswith(rest))
        scores = [self._entered(self._covering(rest, same), column.best())]
        for piece in same:  # it must be silent before it is said again
            scores.append(self._entered(self._emitted(piece, False), column.best((piece,))))
        if free:
            floor: Log = np.full(self._n_rows, self.log_floor)
            scores.append(self._entered(floor, column.best((rest,))))
        return max(scores)

    def _entered(self, emitted: Log | None, before: Log) -> float:
        if emitted is None or not self._n_rows:
            return -np.inf
        return float((emitted + before[:-1] + self._rest[1:]).max())

    def _emitted(self, piece: str, free: bool) -> Log | None:
        """Log belief in `piece` in every row [T]; None if it cannot be said."""
        key = (piece, free)
        if key not in self._kept:
            self._keep(key, self._likelihood([piece] if piece in self._rows else [], free))
        return self._kept[key]

    def _covering(self, rest: str, without: tuple[str, ...]) -> Log | None:
        """Best log belief of the pieces that begin with `rest`, but for `without`."""
        if without:
            return self._likelihood([p for p in self._begin_with(rest) if p not in without], False)
        key = (rest + "*", False)
        if key not in self._kept:
            self._keep(key, self._likelihood(self._begin_with(rest), False))
        return self._kept[key]

    def _begin_with(self, rest: str) -> list[str]:
        first = bisect_left(self._texts, rest)
        return self._texts[first : bisect_left(self._texts, rest + "\U0010ffff")]

    def _likelihood(self, pieces: list[str], free: bool) -> Log | None:
        if not pieces and not (free and self.log_floor > -np.inf):
            return None
        out: Log = np.full(self._n_rows, self.log_floor if free else -np.inf)
        for piece in pieces:
            at, values = self._rows[piece]
            np.maximum.at(out, at, np.log(values))
        return out

    def _keep(self, key: tuple[str, bool], value: Log | None) -> None:
        if len(self._kept) >= _MAX_KEPT:
            self._kept.clear()
        self._kept[key] = value


def _stay(emitted: Log, before: Log) -> Log:
    """[T + 1]: enter from `before` [T + 1] at some row, then emit `emitted` [T] up to each row."""
    total = np.append(0.0, np.cumsum(np.maximum(emitted, _NEVER)))
    entered = np.maximum.accumulate(before - total)
    return np.append(-np.inf, total[1:] + entered[:-1])
