from __future__ import annotations

import numpy as np
import pytest

from edge_audiokv.audio.level import FLOOR_DBFS, Health, measure


def test_known_levels():
    assert measure(np.zeros(100, np.float32)).rms_dbfs == FLOOR_DBFS
    assert measure(np.zeros(0, np.float32)).peak_dbfs == FLOOR_DBFS
    square = np.tile(np.float32([0.5, -0.5]), 50)
    assert measure(square).rms_dbfs == pytest.approx(-6.02, abs=0.01)
    assert measure(square).peak_dbfs == pytest.approx(-6.02, abs=0.01)


def test_health_counts_and_mends():
    health = Health()
    sound = np.array([0.1, np.nan, np.inf, 2.0, -1.0], np.float32)
    mended = health.check(sound)
    np.testing.assert_array_equal(mended, np.float32([0.1, 0, 0, 1, -1]))
    assert (health.broken_samples, health.clipped_samples) == (2, 2)
    assert health.broken_share == 0.4


def test_healthy_sound_is_not_copied():
    sound = np.full(10, 0.5, np.float32)
    assert Health().check(sound) is sound
