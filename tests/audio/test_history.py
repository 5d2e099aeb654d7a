"""The sliding buffer against the plain list that it stands for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_audiokv.audio.history import History

steps = st.lists(st.one_of(st.integers(0, 50), st.tuples(st.integers(0, 400))), max_size=40)


@given(steps=steps)
def test_holds_what_a_list_would(steps):
    history, everything, start = History(50), [], 0
    for step in steps:
        if isinstance(step, tuple):
            history.drop_before(step[0])
            start = max(start, min(step[0], len(everything)))
        else:
            new = np.arange(len(everything), len(everything) + step, dtype=np.float32)
            history.append(new)
            everything += list(new)
            start = max(start, len(everything) - 50)
        assert (history.start, history.end) == (start, len(everything))
        np.testing.assert_array_equal(history.slice(start, len(everything)), everything[start:])


def test_bytes_are_fixed():
    history = History(1000)
    before = history.nbytes
    for _ in range(100):
        history.append(np.zeros(700, np.float32))
    assert history.nbytes == before == 8000


def test_what_is_gone_cannot_be_read():
    history = History(10)
    history.append(np.zeros(10, np.float32))
    history.append(np.zeros(5, np.float32))
    with pytest.raises(IndexError):
        history.slice(0, 10)
    with pytest.raises(ValueError, match="do not fit"):
        history.append(np.zeros(11, np.float32))


def test_quietest_point():
    history = History(16_000)
    sound = np.full(16_000, 0.5, np.float32)
    sound[9_000:11_000] = 0.01
    history.append(sound)
    assert 9_500 < history.quietest(0, 16_000) < 10_500
    assert history.quietest(100, 200) == 150
