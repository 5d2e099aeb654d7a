"""Reading in order: where it ends, and that it does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_audiokv.encoder.reading import Step, loop_start, read

END = 99
N_FRAMES = 400


class Scripted:
    """Writes (token, frame) one after the other, the last one for ever; what it is fed is kept."""

    def __init__(self, script: Sequence[tuple[int, int]]) -> None:
        self.script, self.fed = list(script), list[int]()

    def step(self, token: int) -> Step:
        at = len(self.fed) - 1
        self.fed.append(token)
        said, frame = self.script[min(max(at, 0), len(self.script) - 1)]
        looks = np.zeros((2, N_FRAMES), np.float32)
        looks[:, min(frame, N_FRAMES - 1)] = 0.5
        return Step(np.array([said, 5], np.int32), np.array([0.9, 0.1], np.float32), looks)


def tokens(script: Sequence[tuple[int, int]], **options: float) -> list[int]:
    bounds = {"duration_s": 8.0, "frame_s": 0.02, "max_tokens": 200, **options}
    return [step.token for step in read(Scripted(script), (7, 8), END, **bounds)]  # type: ignore[arg-type]


def test_it_writes_until_the_end_and_keeps_that_step() -> None:
    script = [(1, 10), (2, 30), (3, 60), (END, 90)]
    reader = Scripted(script)
    steps = read(reader, (7, 8), END, duration_s=2.0, frame_s=0.02, max_tokens=200)
    assert [step.token for step in steps] == [1, 2, 3, END]
    assert reader.fed == [7, 8, 1, 2, 3]


def test_silence_has_no_words() -> None:
    assert tokens([(END, 0)]) == [END]


def test_a_passage_that_is_written_again_without_going_on_is_left_out() -> None:
    passage = [(1, 10), (2, 40), (3, 70), (4, 100), (5, 130)]
    assert tokens([*passage, *passage, *passage]) == [1, 2, 3, 4, 5]


def test_a_passage_that_is_said_again_later_stays() -> None:
    passage = [(1, 10), (2, 40), (3, 70), (4, 100), (5, 130)]
    again = [(token, frame + 150) for token, frame in passage]
    assert tokens([*passage, *again, (END, 390)]) == [1, 2, 3, 4, 5, 1, 2, 3, 4, 5, END]


def test_one_word_said_many_times_stays_and_one_that_hangs_does_not() -> None:
    said = [(1, 20 * at) for at in range(10)]
    assert tokens([*said, (END, 380)]) == [1] * 10 + [END]
    assert tokens([(1, 20)]) == [1]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, N_FRAMES - 1)), min_size=1, max_size=12),
    st.floats(0.05, 30.0),
    st.integers(1, 60),
)
def test_it_ends_whatever_it_is_told(
    script: list[tuple[int, int]], duration_s: float, most: int
) -> None:
    found = tokens(script, duration_s=duration_s, max_tokens=most)
    assert len(found) <= min(most, int(duration_s * 8) + 16)
    assert found == [token for token, _ in (script + script[-1:] * 300)[: len(found)]]


@given(st.lists(st.integers(0, 2), max_size=24), st.floats(0.0, 50.0))
def test_a_loop_begins_with_four_tokens_that_stand_earlier(
    written: list[int], later: float
) -> None:
    places = [10.0 * at for at in range(len(written))]
    start = loop_start(written, places, later)
    if start is None:
        return
    last = written[start:]
    assert len(last) == 4
    starts = [at for at in range(start) if written[at : at + 4] == last]
    assert min(10.0 * (start - at) for at in starts) < later


def test_the_place_is_where_most_is_looked() -> None:
    looks = np.zeros((2, 10), np.float32)
    looks[0, 2] = looks[1, 4] = 1.0
    step = Step(np.array([1], np.int32), np.array([1.0], np.float32), looks)
    assert step.place == pytest.approx(3.0)
