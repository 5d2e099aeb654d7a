"""Looking for a better text than the greedy one, with a language model that is a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import pytest

from edge_audiokv.encoder.sound import Sound
from edge_audiokv.engine.decoding.choose import Chooser, Hybrid, Likeliest
from edge_audiokv.engine.decoding.ctc_prefix import CtcPrefix
from edge_audiokv.engine.decoding.decode import Decoded, greedy
from edge_audiokv.engine.decoding.guard import LoopGuard
from edge_audiokv.engine.decoding.search import Search

PIECES = (" red", " green", " blue", " grey", "<end>")
WORDS = PIECES[:-1]
END = 4
START = 7


class Table:
    """Vocabulary, language model and cache: what follows depends on the last two tokens."""

    answer_tags = ""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.table = rng.normal(0, 1.5, (6, 6, len(PIECES))).astype(np.float32)
        self.tokens: list[int] = []
        self.observing = True
        self.n_decoded = 0

    def piece(self, token: int) -> bytes:
        return PIECES[token].encode()

    def is_end_of_generation(self, token: int) -> bool:
        return token == END

    def answer_start(self, ids: Sequence[int], *, growing: bool = False) -> int:
        return 0

    def tokenize(self, text: str, *, special: bool = True) -> list[int]:
        fitting = [t for t, piece in enumerate(PIECES) if piece and text.startswith(piece)]
        return sorted(fitting, key=lambda t: -len(PIECES[t]))[:1]

    def after(self, tokens: Sequence[int]) -> np.ndarray:
        last, before = [5, 5, *tokens][-1], [5, 5, *tokens][-2]
        return self.table[before, last]

    def append_generated(self, ids: Sequence[int]) -> np.ndarray:
        self.tokens += ids
        self.n_decoded += len(ids)
        return self.after(self.tokens)

    def append_draft(self, ids: Sequence[int], logits: np.ndarray, chooser: Chooser) -> None:
        raise AssertionError("there is no draft here")

    def truncate(self, position: int) -> None:
        assert START <= position <= START + len(self.tokens), "cannot bring back what is gone"
        assert not self.observing, "a branch that is given up must leave no trace"
        del self.tokens[position - START :]

    @contextmanager
    def unobserved(self) -> Iterator[None]:
        self.observing = False
        yield
        self.observing = True


def sound_of(seed: int, rows: int = 4) -> Sound:
    rng = np.random.default_rng(seed + 1000)
    words = np.array([rng.permutation(4)[:2] for _ in range(rows)], np.int32)
    beliefs = rng.dirichlet([1.0, 0.7, 0.5], rows)[:, :2].astype(np.float32)
    return Sound(np.zeros((rows, 3), np.float32), words, beliefs)


def guard(chooser: Chooser | None = None) -> LoopGuard:
    return LoopGuard(2.0)


def written(seed: int, max_choices: int = 8) -> tuple[Table, Hybrid, Decoded]:
    table = Table(seed)
    prefixes = CtcPrefix(sound_of(seed), WORDS, floor=0.01)
    chooser = Hybrid(prefixes, table, weight=1.0, max_choices=max_choices)
    return table, chooser, greedy(table, table, table.after([]), guard(), chooser=chooser)


def score_of(seed: int, ids: Sequence[int]) -> float:
    """Log probability of a whole text: the table's, softmax by softmax, and what the text takes
    from that of the encoder's best path.
    """
    table, prefixes = Table(seed), CtcPrefix(sound_of(seed), WORDS, floor=0.01)
    total, prefix = 0.0, prefixes.start()
    for place, token in enumerate([*ids, END]):
        row = np.exp(table.after(ids[:place]).astype(np.float64))
        total += float(np.log(row[token] / row.sum()))
        if token != END:
            prefix = prefixes.extend(prefix, PIECES[token])
    return total + prefixes.whole(prefix) - prefixes.start().score


def ranked(seed: int, ids: Sequence[int]) -> list[int]:
    """All tokens after `ids`, best first, by trying every one."""
    prefixes = CtcPrefix(sound_of(seed), WORDS, floor=0.01)
    prefix = prefixes.start()
    for token in ids:
        prefix = prefixes.extend(prefix, PIECES[token])
    costs = [prefixes.extend(prefix, word).score - prefix.score for word in WORDS]
    costs.append(prefixes.whole(prefix) - prefix.score)
    return np.argsort(-(Table(seed).after(ids) + np.array(costs)), kind="stable").tolist()


def on_from(seed: int, begun: Sequence[int]) -> tuple[int, ...] | None:
    """The greedy text that begins with `begun`; None if it never ends."""
    ids, watch = list(begun), guard()
    if any(watch.push(token) is not None for token in ids):
        return None
    while (token := ranked(seed, ids)[0]) != END:
        ids.append(token)
        if watch.push(token) is not None:
            return None
    return tuple(ids)


@pytest.mark.parametrize("seed", range(40))
def test_it_finds_the_best_of_the_texts_that_turn_off_once(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Hybrid, "max_gap", 1e9)
    table, chooser, first = written(seed, max_choices=64)
    best = Search(table, table, START, guard).better(first, chooser)
    if first.flags:
        assert best is first
        return
    texts = {first.ids}
    for place in range(len(first.ids) + 1):
        other = ranked(seed, first.ids[:place])[1]
        text = first.ids[:place]
        found = text if other == END else on_from(seed, [*text, other])
        texts.add(first.ids if found is None else found)
    assert best.ids == max(texts, key=lambda ids: score_of(seed, ids))


def test_scores_are_those_of_the_texts_and_many_texts_get_better() -> None:
    n_better = 0
    for seed in range(60):
        table, chooser, first = written(seed)
        if first.flags:
            continue
        assert chooser.end() == pytest.approx(score_of(seed, first.ids), abs=1e-4)
        best = Search(table, table, START, guard).better(first, chooser)
        gain = score_of(seed, best.ids) - score_of(seed, first.ids)
        assert gain > -1e-6 and (best.ids == first.ids or gain > 0)
        n_better += best.ids != first.ids
    assert n_better >= 5


@pytest.mark.parametrize("seed", range(30))
def test_what_is_kept_of_the_best_text_is_in_the_cache(seed: int) -> None:
    table, chooser, first = written(seed)
    search = Search(table, table, START, guard)
    best = search.better(first, chooser)
    if first.flags:
        assert best is first
        return
    n_kept = search.n_kept(best)
    assert tuple(table.tokens[:n_kept]) == best.ids[:n_kept]
    assert best.n_generated == table.n_decoded
    assert table.observing


def test_no_choices_or_no_encoder_leave_the_text_alone() -> None:
    for seed in range(10):
        table, chooser, first = written(seed, max_choices=0)
        decoded = Search(table, table, START, guard).better(first, chooser)
        assert decoded == first
        assert Search(table, table, START, guard).better(first, Likeliest()) is first


def test_a_branch_that_loops_is_not_taken() -> None:
    """After " green" the table says " green" for ever; the encoder has no say."""
    table = Table(0)
    table.table[:] = -30.0
    table.table[5, 5, :2] = (1.0, 0.9)  # " red", or nearly as well " green"
    table.table[5, 0, 2], table.table[5, 0, END] = 0.1, 0.0  # goes on and ends, or ends
    table.table[0, 2, END] = 0.0
    table.table[5, 1, 1] = table.table[1, 1, 1] = 0.0
    none = np.zeros((40, 2), np.int32)
    silent = Sound(np.zeros((40, 3), np.float32), none, none.astype(np.float32))
    prefixes = CtcPrefix(silent, WORDS, floor=0.01)
    chooser = Hybrid(prefixes, table, weight=0.0, max_choices=8)
    first = greedy(table, table, table.after([]), guard(), chooser=chooser)
    assert {choice.other for choice in chooser.choices} == {1, END}
    best = Search(table, table, START, guard).better(first, chooser)
    assert best.ids == first.ids == (0, 2)
    assert table.n_decoded > guard().min_loop_tokens / 2, "the branch was tried"
