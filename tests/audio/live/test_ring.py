"""The ring against a plain list, in any order of writes and reads; and from two real threads."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from edge_audiokv.audio.live.ring import Ring


class RingMachine(RuleBasedStateMachine):
    """A list of frames that has a limit is all that the ring is."""

    @initialize(capacity=st.integers(1, 20), channels=st.integers(1, 3))
    def make(self, capacity, channels):
        self.ring = Ring(capacity, channels)
        self.capacity, self.channels = capacity, channels
        self.held: list[int] = []
        self.next = self.dropped = 0

    @rule(count=st.integers(0, 50))
    def write(self, count):
        numbers = list(range(self.next, self.next + count))
        frames = np.repeat(np.array(numbers, np.float32)[:, None], self.channels, axis=1)
        fits = min(count, self.capacity - len(self.held))
        assert self.ring.write(frames) == count - fits
        self.held += numbers[:fits]
        self.dropped += count - fits
        self.next += count

    @rule(count=st.integers(0, 50))
    def read(self, count):
        frames = self.ring.read(count)
        taken, self.held = self.held[:count], self.held[count:]
        assert frames.shape == (len(taken), self.channels)
        assert (frames == np.array(taken, np.float32).reshape(-1, 1)).all()

    @invariant()
    def counts_agree(self):
        if hasattr(self, "ring"):
            assert len(self.ring) == len(self.held)
            assert self.ring.dropped == self.dropped
            assert self.ring.nbytes == 4 * self.capacity * self.channels


TestRing = RingMachine.TestCase
TestRing.settings = settings(max_examples=50, deadline=None)


def test_what_was_read_is_not_overwritten():
    ring = Ring(4)
    ring.write(np.ones((4, 1), np.float32))
    taken = ring.read(4)
    ring.write(np.zeros((4, 1), np.float32))
    assert taken.sum() == 4


def test_two_threads_lose_and_mix_nothing():
    ring, total = Ring(997), 200_000
    numbers = np.arange(total, dtype=np.float32)[:, None]

    def produce():
        at = 0
        while at < total:
            piece = numbers[at : at + 61]
            # A callback would drop; here each frame is offered until it fits.
            at += len(piece) - ring.write(piece)

    writer = threading.Thread(target=produce)
    writer.start()
    pieces, count = [], 0
    while count < total:
        pieces.append(ring.read(83))
        count += len(pieces[-1])
    writer.join()
    np.testing.assert_array_equal(np.concatenate(pieces), numbers)


@pytest.mark.parametrize(("capacity", "channels"), [(0, 1), (1, 0)])
def test_a_ring_must_hold_something(capacity, channels):
    with pytest.raises(ValueError):
        Ring(capacity, channels)
