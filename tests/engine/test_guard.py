"""The loop guard cuts loops and runaways and leaves speech alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_audiokv.engine.decoding.guard import LoopGuard


def run(tokens: list[int], duration_s: float = 30.0) -> tuple[str | None, LoopGuard]:
    guard = LoopGuard(duration_s)
    for token in tokens:
        verdict = guard.push(token)
        if verdict:
            return verdict, guard
    return None, guard


def test_a_repeated_phrase_is_a_loop_and_its_first_round_stays() -> None:
    phrase = [5, 6, 7, 8]
    verdict, guard = run([1, 2, 3, *phrase * 10])
    assert verdict == "loop"
    assert guard.clean() == [1, 2, 3, *phrase]


def test_one_token_for_ever_is_a_loop() -> None:
    verdict, guard = run([1, 2] + [9] * 50)
    assert verdict == "loop"
    assert guard.clean() == [1, 2, 9]


def test_people_do_say_no_no_no() -> None:
    verdict, guard = run([1, 9, 9, 9, 9, 2, 3, 4])
    assert verdict is None
    assert guard.clean() == [1, 9, 9, 9, 9, 2, 3, 4]


def test_text_longer_than_speech_is_a_runaway() -> None:
    verdict, guard = run(list(range(1000)), duration_s=2.0)
    assert verdict == "runaway"
    assert len(guard.history) == guard.max_tokens + 1


@given(st.lists(st.integers(0, 50_000), unique=True, max_size=100))
def test_text_without_repeats_is_never_touched(tokens: list[int]) -> None:
    verdict, guard = run(tokens)
    assert verdict is None
    assert guard.clean() == tokens


@given(
    st.lists(st.integers(0, 9), max_size=20),
    st.lists(st.integers(10, 99), min_size=1, max_size=24, unique=True),
)
def test_any_loop_up_to_the_longest_period_is_cut(head: list[int], phrase: list[int]) -> None:
    verdict, guard = run(head + phrase * 13, duration_s=100.0)
    if verdict is None:
        raise AssertionError("a loop was not noticed")
    assert len(guard.clean()) <= len(head) + len(phrase)


class Ear:
    """A witness that heard the first `n_heard` tokens."""

    def __init__(self, n_heard: int) -> None:
        self.n_heard = n_heard

    def bears_out(self, first: int, last: int) -> bool:
        return last <= self.n_heard

    def n_borne_out(self, first: int) -> int:
        return max(first, self.n_heard)


@given(st.integers(1, 24), st.integers(1, 8), st.lists(st.integers(0, 9), max_size=5))
def test_what_is_said_again_and_again_is_no_loop(period: int, rounds: int, head: list[int]) -> None:
    phrase = list(range(10, 10 + period))
    said = head + phrase * rounds
    guard = LoopGuard(100.0, Ear(len(said)))
    assert [guard.push(token) for token in said] == [None] * len(said)
    assert guard.clean() == said


@given(st.integers(1, 24), st.integers(1, 6), st.integers(0, 23))
def test_a_loop_that_nobody_says_is_cut_where_the_sound_ends(
    period: int, rounds: int, begun: int
) -> None:
    phrase = list(range(10, 10 + period))
    said = [1, 2, *phrase * rounds, *phrase[: begun % period]]
    guard = LoopGuard(100.0, Ear(len(said)))
    written = [1, 2, *phrase * 60]
    verdict = next(filter(None, map(guard.push, written)), None)
    assert verdict == "loop"
    assert len(guard.history) > len(said), "it is no loop before the sound is over"
    assert guard.clean() == written[: len(said)]
