"""Any sequence of calls: the cache does what its model does, and refuses what the model refuses."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from edge_audiokv.native.context import HeadwiseContext
from edge_audiokv.native.model import Model

from . import tiny
from .walking import Walk, any_number, change_of, keep_lists, step, targets_of

pytestmark = pytest.mark.integration

# Ragged: two levels, each with heads of both layers.
CAPACITY = np.array([[64, 128], [128, 64]], np.int32)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[HeadwiseContext, ...]]:
    path = tiny.write(tmp_path_factory.mktemp("tiny") / "llama.gguf", "llama")
    with (
        Model(path) as model,
        HeadwiseContext(model, CAPACITY, n_batch=32, score_window=8, n_threads=1) as one,
        HeadwiseContext(model, CAPACITY, n_batch=32, score_window=8, n_threads=1) as other,
    ):
        yield one, other


def test_any_sequence_of_calls(pair: tuple[HeadwiseContext, HeadwiseContext]) -> None:
    class Cache(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            for context in pair:
                context.clear()
            self.walk, self.other = Walk(pair[0]), Walk(pair[1])

        @rule(ids=st.lists(st.integers(-1, tiny.N_VOCAB), max_size=40), score=st.booleans())
        def decode(self, ids: list[int], score: bool) -> None:
            self.walk.decode(ids, score=score)

        @rule(n=st.integers(1, 20))
        def decode_there(self, n: int) -> None:
            self.other.decode([1] * n)

        @rule(draw=st.randoms(use_true_random=False))
        def keep(self, draw: random.Random) -> None:
            self.walk.keep(keep_lists(draw, self.walk))

        @rule(draw=st.randoms(use_true_random=False))
        def truncate(self, draw: random.Random) -> None:
            self.walk.truncate(any_number(draw, self.walk.next))

        @rule(draw=st.randoms(use_true_random=False), everything=st.booleans())
        def shift(self, draw: random.Random, everything: bool) -> None:
            start = None if everything else any_number(draw, self.walk.next)
            self.walk.shift(any_number(draw, 30), start)

        @rule(draw=st.randoms(use_true_random=False))
        def move(self, draw: random.Random) -> None:
            self.walk.move(*targets_of(draw, self.walk))

        @rule(draw=st.randoms(use_true_random=False), ready=st.booleans())
        def append(self, draw: random.Random, ready: bool) -> None:
            if ready:
                self.other.shift(self.walk.next, None)
            self.walk.append(draw.choice((self.other, self.walk)))

        @rule(at=st.sampled_from([(0, 0), (1, 1)]), value=st.floats(width=32))
        def write(self, at: tuple[int, int], value: float) -> None:
            self.walk.write(at, [0], value)

        @rule()
        def save(self) -> None:
            self.walk.save()

        @rule(draw=st.randoms(use_true_random=False))
        def load(self, draw: random.Random) -> None:
            self.walk.load(change_of(draw))

        @rule()
        def clear(self) -> None:
            self.walk.clear()

    run_state_machine_as_test(
        Cache, settings=settings(max_examples=40, stateful_step_count=25, deadline=None)
    )


@pytest.mark.parametrize("seed", range(8))
def test_long_walks(pair: tuple[HeadwiseContext, HeadwiseContext], seed: int) -> None:
    draw = random.Random(seed)
    for context in pair:
        context.clear()
    walks = Walk(pair[0]), Walk(pair[1])
    for _ in range(60):
        here = draw.randrange(2)
        step(draw, walks[here], walks[1 - here])
