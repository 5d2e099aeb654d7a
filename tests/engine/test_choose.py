"""Choosing tokens with the encoder's words beside the LLM's logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from edge_audiokv.encoder.sound import Sound
from edge_audiokv.engine.decoding.choose import Hybrid, Likeliest, Trust, WordsHeard, witness_of
from edge_audiokv.engine.decoding.ctc_prefix import CtcPrefix

WORDS = (" rich", "mond", " russia", " is", " far")
PIECES = (" rich", "mond", " russia", " is", " far", "Rich", " zoo", "", "<end>")
END = 8


class Pieces:
    """A vocabulary of few tokens."""

    answer_tags = ""

    def piece(self, token: int) -> bytes:
        return PIECES[token].encode()

    def is_end_of_generation(self, token: int) -> bool:
        return token == END

    def answer_start(self, ids: Sequence[int], *, growing: bool = False) -> int:
        return 0

    def tokenize(self, text: str, *, special: bool = True) -> list[int]:
        fitting = [t for t, piece in enumerate(PIECES) if piece and text.startswith(piece)]
        return sorted(fitting, key=lambda t: -len(PIECES[t]))[:1]


def heard(*rows: dict[int, float]) -> Sound:
    """Two words a row; the second is " is" at 0 unless given."""
    words = np.array([[*row, *[3] * (2 - len(row))] for row in rows], np.int32)
    beliefs = np.array([[*row.values(), *[0.0] * (2 - len(row))] for row in rows], np.float32)
    return Sound(np.zeros((len(rows), 3), np.float32), words, beliefs)


RICHMOND = heard({0: 0.8, 2: 0.05}, {1: 0.9}, {}, {3: 0.9}, {4: 0.95})


def logits(**liked: float) -> np.ndarray:
    row = np.full(len(PIECES), -9.0, np.float32)
    for name, value in liked.items():
        row[int(name[1:])] = value
    return row


def hybrid(weight: float = 1.0) -> Hybrid:
    return Hybrid(CtcPrefix(RICHMOND, WORDS, floor=0.01), Pieces(), weight=weight)


def test_a_fluent_neighbour_loses_to_the_word_that_was_heard() -> None:
    liked = logits(t2=1.0, t0=0.2)
    assert Likeliest().pick(liked) == 2
    assert hybrid().pick(liked) == 0


@pytest.mark.parametrize("n_rows", [0, 1, 2])
@pytest.mark.parametrize("floor", [0.0, 0.01])
def test_more_text_than_the_sound_has_rows_for_costs_no_more(n_rows: int, floor: float) -> None:
    sound = Sound(
        *(part[:n_rows] for part in (RICHMOND.embeddings, RICHMOND.words, RICHMOND.beliefs))
    )
    chooser = Hybrid(CtcPrefix(sound, WORDS, floor=floor), Pieces(), weight=1.0, max_choices=8)
    for token in (0, 1, 2, 3, 4):
        chooser.pick(logits())
        chooser.push(token)
    assert chooser.pick(logits(t6=2.0, t3=1.0, t8=0.5)) == 6
    assert not any(np.isnan(value) for c in chooser.choices for value in (c.gap, c.other_score))
    assert not np.isnan(chooser.end())


def test_case_and_the_first_space_do_not_matter() -> None:
    assert hybrid().pick(logits(t2=1.0, t5=0.2)) == 5
    chooser = hybrid()
    chooser.push(5)
    assert chooser.pick(logits(t1=0.0, t6=1.0)) == 1


def test_the_end_waits_until_all_is_said() -> None:
    chooser = hybrid()
    for token in (0, 1):
        assert chooser.pick(logits(t3=0.0, t8=1.0, **{f"t{token}": 0.5})) == token
        chooser.push(token)
    assert chooser.pick(logits(t3=0.0, t8=1.0)) == 3
    chooser.push(3)
    chooser.push(4)
    assert chooser.pick(logits(t3=0.0, t8=1.0)) == END
    assert chooser.pick(logits(t4=2.0, t8=0.0)) == END, "once more would be once too often"


@pytest.mark.parametrize("seed", range(20))
def test_stopping_early_never_changes_the_choice(seed: int) -> None:
    row = np.random.default_rng(seed).normal(0, 2, len(PIECES)).astype(np.float32)
    chooser = hybrid(0.7)
    best = max(range(len(PIECES)), key=lambda token: row[token] + 0.7 * chooser._cost(token))
    assert chooser.pick(row) == best


def test_without_weight_or_words_the_llm_is_alone() -> None:
    for words, weight in ((WORDS, 0.0), ((), 0.5)):
        made = WordsHeard(words, Pieces(), weight=weight, floor=0.01).chooser(RICHMOND)
        assert isinstance(made, Likeliest)
    made = WordsHeard(WORDS, Pieces(), weight=0.5, floor=0.01).chooser(RICHMOND)
    assert isinstance(made, Hybrid) and made.weight == 0.5


def test_another_try_is_stricter_where_words_were_heard() -> None:
    heard_words = WordsHeard(WORDS, Pieces(), weight=0.5, floor=0.02)
    mild, strict = heard_words.chooser(RICHMOND), heard_words.strict(RICHMOND)
    assert isinstance(mild, Hybrid) and isinstance(strict, Hybrid)
    unheard = logits(t6=3.5, t0=0.0)
    assert mild.pick(unheard) == 6 and strict.pick(unheard) == 0
    assert WordsHeard((), Pieces(), weight=0.5, floor=0.02).strict(RICHMOND) is None


def test_what_was_heard_is_borne_out_and_what_was_not_is_not() -> None:
    chooser = hybrid()
    for token in (0, 1, 3, 4):  # rich mond is far
        chooser.push(token)
    assert chooser.bears_out(0, 4) and chooser.bears_out(2, 4)
    assert chooser.n_borne_out(0) == 4
    for token in (3, 4):  # said once, written twice
        chooser.push(token)
    assert not chooser.bears_out(4, 6)
    assert chooser.bears_out(0, 4), "what stands before is as right as it was"
    assert chooser.n_borne_out(0) == 4 and chooser.n_borne_out(5) == 5
    assert witness_of(chooser) is chooser and witness_of(Likeliest()) is None


@pytest.mark.parametrize("rounds", [1, 2, 3, 4])
@pytest.mark.parametrize("floor", [0.0, 0.01])
def test_as_many_rounds_are_borne_out_as_the_sound_has(rounds: int, floor: float) -> None:
    sound = heard(*[{3: 0.9}, {}, {4: 0.95}, {}] * rounds)
    chooser = Hybrid(CtcPrefix(sound, WORDS, floor=floor), Pieces(), weight=1.0)
    borne_out = []
    for at in range(6):
        chooser.push(3)
        chooser.push(4)
        borne_out.append(chooser.bears_out(2 * at, 2 * at + 2))
    assert borne_out == [at < rounds for at in range(6)]
    assert chooser.n_borne_out(2) == 2 * rounds


def test_more_text_than_rows_is_not_borne_out() -> None:
    chooser = Hybrid(CtcPrefix(heard({3: 0.9}), WORDS, floor=0.01), Pieces(), weight=1.0)
    for token in (3, 4, 6):
        chooser.push(token)
    assert not chooser.bears_out(1, 3) and chooser.n_borne_out(0) == 1


class Many(Pieces):
    """So many tokens that what was heard is not among the likeliest."""

    def piece(self, token: int) -> bytes:
        return PIECES[token].encode() if token < len(PIECES) else f" w{token}".encode()

    def tokenize(self, text: str, *, special: bool = True) -> list[int]:
        return super().tokenize(text) or super().tokenize(" " + text)


def test_what_was_heard_is_written_however_unlikely_where_nothing_likely_was_heard() -> None:
    chooser = Hybrid(CtcPrefix(RICHMOND, WORDS, floor=1e-4), Many(), weight=3.0)
    row = np.full(400, 5.0, np.float32)
    row[: len(PIECES)] = -4.0
    written = []
    for _ in range(4):
        written.append(chooser.pick(row))
        chooser.push(written[-1])
    assert "".join(PIECES[token] for token in written) == " richmond is far"
    row[300] = 60.0
    assert chooser.pick(row) == 300, "not at any price"


def test_words_in_order_are_trusted_in_their_own_way() -> None:
    words = WordsHeard(WORDS, Pieces(), weight=0.5, floor=0.02, ordered=Trust(3.0, 0.001))
    ordered = replace(RICHMOND, in_order=True)
    chooser = words.chooser(ordered)
    assert isinstance(chooser, Hybrid) and chooser.weight == 3.0
    rows, single = words.chooser(RICHMOND), logits(t6=9.0, t0=0.0)
    assert rows.pick(single) == 6 and chooser.pick(single) == 0
    assert ordered.after(2).in_order and Sound.join([ordered, ordered]).in_order
    assert not Sound.join([ordered, RICHMOND]).in_order
