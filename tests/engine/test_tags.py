"""Times and speakers that a model writes around its words are not judged as words."""

from __future__ import annotations

import re
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_audiokv.engine.decoding.decode import greedy, text_of
from edge_audiokv.engine.decoding.guard import LoopGuard, most_tokens
from edge_audiokv.engine.decoding.tags import Tags, tags_of

from .test_decode import Script, Tagged


class Pieces(Tagged):
    """Each different piece of text is a token."""

    def __init__(self) -> None:
        super().__init__([], {})
        self.ids: dict[bytes, int] = {}

    def cut(self, text: str) -> list[int]:
        """Split as a BPE would: words, marks, digits one by one; `].` and `.[` stay together."""
        found = re.findall(r"\]\.|\.\[|\w\d?|[^\w]", text) if "|" not in text else text.split("|")
        for piece in found:
            self.ids.setdefault(piece.encode(), len(self.ids) + 1)
        self.pieces = {token: piece for piece, token in self.ids.items()}
        return [self.ids[piece.encode()] for piece in found]


def push(guard: LoopGuard, tokens: list[int]) -> str | None:
    return next((verdict for verdict in map(guard.push, tokens) if verdict), None)


@pytest.mark.parametrize(
    ("text", "only_tags"),
    [
        ("[|0.|1|]", [True] * 4),
        ("[|S01|]Good| day|.[|1", [True, True, False, False, False, True]),
        ("[1] |\n|[2]", [True, False, True]),
        ("a|]|[|[|b|]", [False, False, True, True, True, True]),
        ("][| ", [False, True]),
    ],
)
def test_what_only_writes_tags(text: str, only_tags: list[bool]) -> None:
    words = Pieces()
    tags = Tags(words)
    assert [tags.push(token) for token in words.cut(text)] == only_tags


def test_a_character_in_two_tokens_is_one() -> None:
    first, second = b"\xe2\x80", b"\xb9"  # of a bracket that is not in ASCII
    script = Script([], {1: first, 2: second, 3: b"1", 4: "\u203a".encode()})
    script.answer_tags = "\u2039\u203a"  # type: ignore[misc]
    tags = Tags(script)
    assert [tags.push(token) for token in (1, 2, 3, 4)] == [False, True, True, True]
    assert not tags.is_open


def test_a_model_without_tags_has_none_to_follow() -> None:
    assert tags_of(Script([], {})) is None


def test_short_turns_with_all_their_times_are_no_runaway() -> None:
    words = Pieces()
    said = ("So it is.", "Is it?", "Yes it is.", "Then go.")
    turns = [f"[{2 * n}.02][S0{1 + n % 2}]{text}[{2 * n}.91]" for n, text in enumerate(said)]
    tokens = words.cut("".join(turns))
    assert push(LoopGuard(8.0), tokens) == "runaway"
    guard = LoopGuard(8.0, tags=Tags(words))
    assert push(guard, tokens) is None and guard.clean() == tokens


def test_speakers_that_come_back_are_no_loop() -> None:
    """Nobody is heard in between: the tags of many short pauses, all alike."""
    words = Pieces()
    tokens = words.cut("a" + "[S01]" * 8)
    assert push(LoopGuard(10.0), tokens) == "loop"
    assert push(LoopGuard(10.0, tags=Tags(words)), tokens) is None


@pytest.mark.parametrize("mark", [".", "!"])
def test_a_loop_is_one_though_its_times_count_up(mark: str) -> None:
    words = Pieces()
    rounds = [f"[{n // 10}.{n % 10}][S01]no it is not{mark}[{n // 10}.{n % 10}]" for n in range(9)]
    tokens = words.cut("".join(rounds))
    assert push(LoopGuard(100.0), tokens) is None
    guard = LoopGuard(100.0, tags=Tags(words))
    assert push(guard, tokens) == "loop"
    kept = guard.clean()
    # The first round, and no tag that was begun only.
    assert text_of(words, kept).strip() in ("no it is not" + mark, "no it is not")
    assert len(kept) < 2 * len(words.cut(rounds[0]))


def test_tags_for_ever_and_one_that_never_ends_are_runaways() -> None:
    for text in ("[0.1]", "[", "[a"):
        words = Pieces()
        guard = LoopGuard(5.0, tags=Tags(words))
        assert push(guard, words.cut(text) * 200) == "runaway"
        assert len(guard.history) == guard.max_tokens + 1


@given(st.lists(st.sampled_from(["a", "b", " c", "[", "]", "[1]", "]."]), max_size=200))
def test_no_text_is_longer_than_there_is_room_for(pieces: list[str]) -> None:
    words = Pieces()
    guard = LoopGuard(3.0, tags=Tags(words))
    tokens = words.cut("|".join([*pieces, "|"]))
    push(guard, tokens)
    assert len(guard.history) <= 2 * guard.max_tokens + 1
    assert 2 * guard.max_tokens == most_tokens(3.0, "[]") + 2 * guard.slack_tokens
    kept = guard.clean()
    assert kept == guard.history[: len(kept)]


@given(st.lists(st.integers(1, 5), max_size=60))
def test_words_are_judged_as_ever_where_there_are_no_tags(tokens: list[int]) -> None:
    words = Pieces()
    words.pieces = {n: f" w{n}".encode() for n in range(1, 6)}
    guards = LoopGuard(3.0), LoopGuard(3.0, tags=Tags(words))
    for token in tokens:
        verdicts = {guard.push(token) for guard in guards}
        assert len(verdicts) == 1
        assert guards[0].clean() == guards[1].clean()


class Ear:
    """Was asked about these tokens, and heard the first `n_heard`."""

    def __init__(self, n_heard: int) -> None:
        self.n_heard = n_heard
        self.asked: list[tuple[int, int]] = []

    def bears_out(self, first: int, last: int) -> bool:
        self.asked.append((first, last))
        return last <= self.n_heard

    def n_borne_out(self, first: int) -> int:
        return max(first, self.n_heard)


def test_the_sound_is_asked_about_a_whole_round_with_its_tags() -> None:
    words = Pieces()
    one = words.cut("no[0.1]")
    ear = Ear(n_heard=15 * len(one))
    guard = LoopGuard(100.0, ear, Tags(words))
    assert push(guard, one * 20) == "loop"
    assert len(guard.history) > ear.n_heard
    # After the word: its round begins with the word before.
    assert ear.asked[0] == (5 * len(one), 5 * len(one) + 2)
    assert guard.clean() == (one * 20)[: ear.n_heard]


def test_a_decoder_that_loops_between_its_times_is_stopped() -> None:
    words, numbers = Pieces(), count()
    text = "".join(f"[{next(numbers)}][S01]I see it" for _ in range(10))
    tokens = words.cut(text)
    script = Tagged(tokens, words.pieces)
    decoded = greedy(script, script, script.logits(), LoopGuard(100.0, tags=Tags(script)))
    assert decoded.text == "I see it" and decoded.flags == ("loop",)
    assert decoded.n_generated < len(tokens)
