"""The likeliest path of a known text through an encoder's own words (forced alignment).

CTC (Graves et al. 2006) reads a piece of text, or silence, from every row; repeats merge. The text
may be cut into pieces in every way that the encoder's vocabulary allows, so the search runs over a
lattice: a node a letter, an arc a piece. What the encoder did not hear may be said in any row with
a belief of `floor`, so that a text always has a path, and a word that was made up none that is
believed. Search: Viterbi, over rows at once (numpy), over letters one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_audiokv.encoder.sound import Sound
from edge_audiokv.engine.alignment.place import Alignment, Place, spread
from edge_audiokv.engine.alignment.text import letters, word_spans

Log = NDArray[np.float64]
Int = NDArray[np.int32]

# Silence is never ruled out: an encoder may be sure of too much.
_LEAST_SILENCE = 1e-3
# Stands for log 0 in sums, where infinities would cancel to nothing.
_NEVER = -1e4


class Beliefs:
    """One sound's beliefs above `floor` by piece: float64 [T] each; `silence` is log belief in none
    at all.
    """

    def __init__(self, sound: Sound, vocabulary: Sequence[str], *, floor: float) -> None:
        self.n_rows = len(sound)
        silence = np.maximum(1.0 - sound.beliefs.sum(axis=1, dtype=np.float64), _LEAST_SILENCE)
        self.silence: Log = np.log(silence)
        self.believed: dict[str, Log] = {}
        rows, ranks = np.nonzero(sound.beliefs > floor)
        for row, rank in zip(rows.tolist(), ranks.tolist(), strict=True):
            piece = vocabulary[int(sound.words[row, rank])]
            if piece:
                # A word that stands twice in a row, in two cases, is one word.
                kept = self.believed.setdefault(piece, np.zeros(self.n_rows))
                kept[row] = min(1.0, kept[row] + float(sound.beliefs[row, rank]))
        self.longest = max(map(len, self.believed), default=1)

    def parts(self, text: str, at: int) -> bool:
        """A piece was heard that `text` holds before `at` or from there on."""
        sizes = range(1, 1 + self.longest)
        return any(text[at : at + n] in self.believed for n in sizes if at + n <= len(text)) or any(
            text[at - n : at] in self.believed for n in sizes if n <= at
        )


@dataclass
class _Arcs:
    """All arcs that end in one node: `scores` and `entered` [A, T + 1] after 0..T rows."""

    starts: list[int]
    pieces: list[str]
    scores: Log
    entered: Int


@dataclass
class _Node:
    """Paths that have said the text up to one letter. `silent` [T + 1] end in silence, for which
    they left an arc at `hushed`; `best` is the better of all.
    """

    arcs: _Arcs | None
    silent: Log
    hushed: Int
    best: Log = field(init=False)

    def __post_init__(self) -> None:
        self.best = self.silent
        if self.arcs is not None:
            self.best = np.maximum(self.silent, self.arcs.scores.max(axis=0))

    def before(self, piece: str) -> Log:
        """Best of what `piece` may follow: it must be silent before it is said again."""
        if self.arcs is None or piece not in self.arcs.pieces:
            return self.best
        others = [i for i, other in enumerate(self.arcs.pieces) if other != piece]
        allowed = np.vstack([self.silent, self.arcs.scores[others]])
        return np.asarray(allowed.max(axis=0))


def align(text: str, sound: Sound, vocabulary: Sequence[str], *, floor: float) -> Alignment:
    """Where `sound` says the words of `text`; `vocabulary` is the encoder's (`Encoder.words`).

    `floor` in (0, 1) is the belief, in any row, in what the encoder did not name. More words than
    rows are spread evenly, with no confidence.
    """
    spans = word_spans(text)
    spelt = [letters(text[slice(*span)]) for span in spans]
    if len(spans) > len(sound) or not all(spelt):
        return spread(text, spans, len(sound))
    lattice = _Lattice(Beliefs(sound, vocabulary, floor=floor), floor)
    for own in spelt:
        lattice.add("".join(letter for _, letter in own))
    steps = lattice.path()
    if steps is None:
        return spread(text, spans, len(sound))
    return _placed(text, spans, spelt, steps, lattice)


@dataclass(frozen=True)
class _Step:
    """`n_letters` of a word, said in the rows [first, last]."""

    n_letters: int
    first: int
    last: int
    belief: float


class _Lattice:
    """Nodes of the words so far: letters are counted with the space before each word."""

    def __init__(self, beliefs: Beliefs, floor: float) -> None:
        self.beliefs, self.log_floor = beliefs, float(np.log(floor))
        self.text = ""
        self.ends: list[int] = []
        silent = np.append(0.0, np.cumsum(beliefs.silence))
        self.nodes: dict[int, _Node] = {
            0: _Node(None, silent, np.zeros(beliefs.n_rows + 1, np.int32))
        }

    def add(self, word: str) -> None:
        """One more word, in letters."""
        old = len(self.text)
        self.text += " " + word
        end = len(self.text)
        for at in range(old + 1, end + 1):
            # Within a word only where a piece that was heard begins or ends is worth a node.
            if at < end and not self.beliefs.parts(self.text[old:], at - old):
                continue
            arcs = self._arcs(old, at, end)
            if arcs is not None:
                silent, hushed = _stay(self.beliefs.silence, arcs.scores.max(axis=0))
                self.nodes[at] = _Node(arcs, silent, hushed)
        self.ends.append(end)

    def _arcs(self, old: int, at: int, end: int) -> _Arcs | None:
        """All pieces of this word that end with letter `at`, those that were not heard among them:
        a whole word, or what is before or after pieces that were.
        """
        starts, emitted, before = [], [], []
        for start in range(old, at):
            node = self.nodes.get(start)
            piece = self.text[start:at]
            belief = self.beliefs.believed.get(piece)
            free = (start == old or at == end) and piece != " "
            if node is None or (belief is None and not free):
                continue
            log = np.full(self.beliefs.n_rows, self.log_floor if free else _NEVER)
            if belief is not None:
                np.log(belief, out=log, where=belief > 0)
            starts.append(start)
            emitted.append(log)
            before.append(node.before(piece))
        if not starts:
            return None
        scores, entered = _stay(np.maximum(np.array(emitted), _NEVER), np.array(before))
        return _Arcs(starts, [self.text[start:at] for start in starts], scores, entered)

    @property
    def score(self) -> float:
        """Log probability of the best path that says the text and no more."""
        return float(self.nodes[len(self.text)].best[-1])

    def path(self) -> list[list[_Step]] | None:
        """The steps of each word along the best path; None if there is none."""
        at, after = len(self.text), self.beliefs.n_rows
        if not np.isfinite(self.nodes[at].best[after]):
            return None
        steps: list[list[_Step]] = [[] for _ in self.ends]
        word, said = len(self.ends) - 1, ""
        while at:
            node = self.nodes[at]
            arcs = node.arcs
            if arcs is None:  # only the beginning has none
                break
            scores = arcs.scores[:, after].copy()
            scores[[piece == said for piece in arcs.pieces]] = -np.inf
            if node.silent[after] >= scores.max():
                after = int(node.hushed[after])
                scores = arcs.scores[:, after]
            arc = int(scores.argmax())
            said, start, entry = arcs.pieces[arc], arcs.starts[arc], int(arcs.entered[arc, after])
            believed = self.beliefs.believed.get(said)
            belief = 0.0 if believed is None else float(believed[entry:after].max())
            n_letters = len(said) - said.startswith(" ")
            steps[word].append(_Step(n_letters, entry, after - 1, min(belief, 1.0)))
            at, after = start, entry
            if word and at == self.ends[word - 1]:
                word -= 1
        return [list(reversed(own)) for own in steps]


def _stay(emitted: Log, before: Log) -> tuple[Log, Int]:
    """Enter from `before` [..., T + 1] at some row, then emit `emitted` [..., T] up to each row.

    Scores [..., T + 1], and the row that was entered.
    """
    total = np.zeros_like(before)
    np.cumsum(np.broadcast_to(emitted, before[..., 1:].shape), axis=-1, out=total[..., 1:])
    gain = before - total
    best = np.maximum.accumulate(gain, axis=-1)
    row = np.arange(before.shape[-1], dtype=np.int32)
    entered = np.maximum.accumulate(np.where(gain == best, row, 0), axis=-1)
    scores = np.full_like(before, -np.inf)
    scores[..., 1:] = total[..., 1:] + best[..., :-1]
    rows = np.zeros(before.shape, np.int32)
    rows[..., 1:] = entered[..., :-1]
    return scores, rows


def _placed(
    text: str,
    spans: Sequence[tuple[int, int]],
    spelt: Sequence[list[tuple[int, str]]],
    steps: Sequence[Sequence[_Step]],
    lattice: _Lattice,
) -> Alignment:
    rows = np.zeros(len(text), np.int32)
    words = []
    for span, own, said in zip(spans, spelt, steps, strict=True):
        at = 0
        for step in said:
            for index in range(step.n_letters):
                row = step.first + index * (step.last - step.first + 1) // step.n_letters
                rows[span[0] + own[at + index][0]] = row
            at += step.n_letters
        belief = min(step.belief for step in said)
        words.append(Place(text[slice(*span)], *span, said[0].first, said[-1].last, belief))
    # Characters that nobody hears lie where the one before them does.
    rows = np.maximum.accumulate(rows)
    return Alignment(text, tuple(words), rows, lattice.beliefs.n_rows, lattice.score)
