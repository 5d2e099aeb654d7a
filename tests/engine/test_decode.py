"""Greedy decoding against a scripted model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_audiokv.engine.decoding.choose import Chooser
from edge_audiokv.engine.decoding.decode import greedy, pieces_of, text_of
from edge_audiokv.engine.decoding.guard import LoopGuard
from edge_audiokv.kv.shape import FloatArray

END = 0


class Script:
    """Says the given tokens in order, then ends; records what was put into the cache."""

    answer_tags = ""

    def __init__(self, tokens: Sequence[int], pieces: dict[int, bytes]) -> None:
        self.tokens = [*tokens, END]
        self.pieces = pieces
        self.appended: list[int] = []
        self.n_alone = 0

    def piece(self, token: int) -> bytes:
        return self.pieces[token]

    def is_end_of_generation(self, token: int) -> bool:
        return token == END

    def answer_start(self, ids: Sequence[int], *, growing: bool = False) -> int:
        return 0

    def logits(self) -> FloatArray:
        row = np.zeros(100, np.float32)
        row[self.tokens[len(self.appended)]] = 1
        return row

    def append_generated(self, ids: Sequence[int]) -> FloatArray:
        self.appended += ids
        self.n_alone += 1
        return self.logits()

    def append_draft(
        self, ids: Sequence[int], logits: FloatArray, chooser: Chooser
    ) -> tuple[int, FloatArray]:
        n_right = 0
        for id in ids:
            if id != self.tokens[len(self.appended)]:
                break
            self.appended.append(id)
            n_right += 1
        return n_right, self.logits()


def test_text_ends_with_the_turn() -> None:
    script = Script([1, 2], {1: b" hello", 2: b" world"})
    seen: list[int] = []
    decoded = greedy(
        script, script, script.logits(), LoopGuard(10.0), on_token=lambda ids: seen.append(len(ids))
    )
    assert decoded.text == "hello world"
    assert decoded.ids == (1, 2)
    assert decoded.flags == ()
    assert script.appended == [1, 2]
    assert seen == [1, 2]


def test_nothing_said_is_an_empty_text() -> None:
    script = Script([], {})
    assert greedy(script, script, script.logits(), LoopGuard(1.0)).text == ""


def test_a_loop_is_cut_and_flagged() -> None:
    script = Script([1, *[2, 3] * 40], {1: b"well", 2: b" ha", 3: b" ho"})
    decoded = greedy(script, script, script.logits(), LoopGuard(60.0))
    assert decoded.flags == ("loop",)
    assert decoded.text == "well ha ho"
    assert decoded.n_generated < 40


def test_a_character_split_over_tokens_is_whole_and_half_a_character_waits() -> None:
    script = Script([1, 2], {1: b"caf\xc3", 2: b"\xa9"})
    assert text_of(script, [1, 2]) == "café"
    assert text_of(script, [1]) == "caf"


class Prefixed(Script):
    """Says the language before the text."""

    def answer_start(self, ids: Sequence[int], *, growing: bool = False) -> int:
        return ids.index(2) + 1 if 2 in ids else len(ids) if growing else 0


def test_what_is_written_before_the_answer_is_no_part_of_it() -> None:
    script = Prefixed([1, 2, 3, 4], {1: b"language English", 2: b"<asr>", 3: b"good", 4: b" day"})
    grown: list[str] = []
    decoded = greedy(
        script,
        script,
        script.logits(),
        LoopGuard(10.0),
        on_token=lambda ids: grown.append(text_of(script, ids, growing=True)),
    )
    assert grown == ["", "", "good", "good day"]
    assert decoded.text == "good day"
    # The cache holds all of it, and a word's place is found by all of it.
    assert decoded.ids == (1, 2, 3, 4)
    assert pieces_of(script, decoded.ids) == ["", "", "good", " day"]


class Tagged(Script):
    """Writes times and speakers around what was said."""

    answer_tags = "[]"


def test_tags_are_no_part_of_an_answer() -> None:
    words = [b"[0.", b"10][S", b"01]Good", b" day.[1.5", b"][1.6][S02]", b"Bye [", b"2.0]"]
    ids = list(range(1, len(words) + 1))
    script = Tagged(ids, dict(zip(ids, words, strict=True)))
    grown = [text_of(script, ids[:n], growing=True).strip() for n in range(1, len(ids) + 1)]
    assert grown == ["", "", "Good", "Good day.", "Good day.", "Good day. Bye", "Good day. Bye"]
    assert text_of(script, ids).strip() == "Good day. Bye"
    pieces = pieces_of(script, ids)
    assert "".join(pieces) == text_of(script, ids)
    assert [piece.strip() for piece in pieces] == ["", "", "Good", "day.", "", "Bye", ""]
    # What is never closed may be a part of it after all.
    assert text_of(script, ids[:6]).strip() == "Good day. Bye ["


def test_a_draft_never_changes_the_text() -> None:
    pieces = {n: f" w{n}".encode() for n in range(1, 9)}
    plain = Script([1, 2, 3, 4, 5], pieces)
    expected = greedy(plain, plain, plain.logits(), LoopGuard(10.0))
    drafts = ([], [1, 2, 3], [1, 2, 7, 8], [8], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 6])
    for draft in (*drafts, [1, 7, 3, 4, 5], [7, 1, 2, 4, 5], [2, 3, 1, 5], [5, 1]):
        script = Script([1, 2, 3, 4, 5], pieces)
        decoded = greedy(script, script, script.logits(), LoopGuard(10.0), draft=draft)
        assert decoded == expected, draft
        assert script.appended == [1, 2, 3, 4, 5]


@given(st.lists(st.integers(1, 8), max_size=12), st.lists(st.integers(1, 8), max_size=12))
def test_no_draft_changes_any_text(text: list[int], draft: list[int]) -> None:
    pieces = {n: f" w{n}".encode() for n in range(1, 9)}
    plain, script = Script(text, pieces), Script(text, pieces)
    expected = greedy(plain, plain, plain.logits(), LoopGuard(10.0))
    assert greedy(script, script, script.logits(), LoopGuard(10.0), draft=draft) == expected
    # Text that a guard has stopped may have been checked a little further.
    assert script.appended[: len(plain.appended)] == plain.appended


def test_a_draft_is_taken_up_again_after_a_word_that_differs() -> None:
    text = list(range(1, 9))
    script = Script(text, {n: b"w" for n in range(1, 9)})
    draft = [1, 2, 50, 4, 5, 51, 52, 7, 8]
    greedy(script, script, script.logits(), LoopGuard(10.0), draft=draft)
    # One at a time: what differs, and a word after two in place of one.
    assert script.n_alone == 3


class NeverTwo:
    """Picks the likeliest token but 2, and notes what it was told."""

    def __init__(self) -> None:
        self.told: list[int] = []

    def pick(self, logits: FloatArray) -> int:
        best = int(np.argmax(logits))
        return END if best == 2 else best

    def push(self, token: int) -> None:
        self.told.append(token)


def test_the_chooser_decides_and_is_told_of_every_token_but_the_end() -> None:
    chooser = NeverTwo()
    script = Script([1, 3, 2], {1: b" one", 3: b" three", 2: b" two"})
    decoded = greedy(script, script, script.logits(), LoopGuard(10.0), chooser=chooser)
    assert decoded.ids == (1, 3) and chooser.told == [1, 3]
