from __future__ import annotations

import numpy as np
import pytest

from edge_audiokv.audio.level import FLOOR_DBFS, Health, LiveHealth, measure


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


def told(pieces):
    """Messages of a stream of 1 s pieces, with the second in which they came."""
    health = LiveHealth()
    return [
        (second, message)
        for second, piece in enumerate(pieces)
        for message in health.messages(piece, float(second))
    ]


def test_a_muted_microphone_is_told_once_a_minute():
    messages = told([np.zeros(100, np.float32)] * 130)
    assert [second for second, _ in messages] == [10, 70]
    assert "muted" in messages[0][1]


def test_a_quiet_room_is_not_a_muted_microphone(tone):
    assert told([1e-4 * tone(16_000, 1.0)] * 30) == []


def test_clipped_and_broken_sound_is_told():
    loud = np.tile(np.float32([1, -1]), 50)
    broken = np.full(100, np.nan, np.float32)
    assert [message.split(" ", 1)[1] for _, message in told([loud] * 11)] == [
        "of the sound is clipped; turn it down"
    ]
    assert "NaN" in told([broken] * 11)[0][1]
