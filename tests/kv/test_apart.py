from __future__ import annotations

import numpy as np

from edge_audiokv.kv.budget import apart


def test_heads_with_different_targets_get_different_capacities():
    targets = np.array([[10, 300], [10, 40]], np.int32)
    capacity = apart(targets, 200)
    np.testing.assert_array_equal(capacity, [[256, 384], [256, 320]])
    assert (apart(np.full((2, 2), 7, np.int32), 64) == 64).all()
