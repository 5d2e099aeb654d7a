from __future__ import annotations

import numpy as np

from edge_audiokv.kv.budget import apart


def test_heads_with_different_targets_get_different_capacities():
    targets = np.array([[10, 300], [10, 40]], np.int32)
    capacity = apart(targets, 200)
    np.testing.assert_array_equal(capacity, [[256, 384], [256, 320]])
    assert (apart(np.full((2, 2), 7, np.int32), 64) == 64).all()


def test_heads_that_keep_little_get_no_more_room_than_they_need() -> None:
    targets = np.array([[10, 10, 300], [200, 10, 300]], np.int32)
    least = np.maximum(128, targets + 60).astype(np.int32)
    room = apart(targets, least)
    assert (room >= least).all()
    assert room.tolist() == [[128, 128, 384], [320, 128, 384]]
    assert room.sum() < apart(targets, int(least.max())).sum()
