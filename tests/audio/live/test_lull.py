"""A live source that goes quiet with its line open."""

from __future__ import annotations

import numpy as np

from edge_audiokv.audio.endpoint import Ended, Endpointer
from edge_audiokv.audio.live.lull import Lull


def lulls(lull, waits):
    """At which of `waits` (seconds without sound before each arrival) a lull began."""
    found = []
    for number, wait_s in enumerate(waits):
        told = [lull.heard(0, 0.1) for _ in range(round(wait_s * 10))]
        assert sum(told) <= 1
        if any(told):
            found.append((number, (told.index(True) + 1) / 10))
        lull.heard(1600, 0.0)
    return found


def test_a_steady_sender_that_stops_is_told_after_the_silence():
    assert lulls(Lull(0.5), [0.1] * 20 + [5.0]) == [(20, 0.5)]


def test_each_lull_is_told_once_and_the_next_again():
    assert [number for number, _ in lulls(Lull(0.5), [0.1, 3, 0.1, 0.1, 9])] == [1, 4]


def test_a_sender_in_bursts_is_waited_for():
    found = lulls(Lull(0.5), [1.0] * 10)
    assert found == [(0, 0.5)]


def test_however_long_the_waits_were_a_lull_comes():
    found = lulls(Lull(0.5), [30.0] * 4)
    assert [number for number, _ in found] == [0, 1, 2, 3]
    assert all(after_s <= 4.5 for _, after_s in found)


def test_what_is_slow_to_read_is_no_lull():
    lull = Lull(0.5)
    assert not any(lull.heard(1600, 2.0) for _ in range(5))


class LoudIsSpeech:
    nbytes = 0

    def probabilities(self, frames):
        return (np.abs(frames).max(axis=1) > 0.1).astype(np.float32)

    def reset(self):
        pass


def test_a_pause_ends_the_segment_and_time_goes_on_from_there():
    endpointer = Endpointer(LoudIsSpeech())
    loud = np.full(16_000, 0.5, np.float32)
    endpointer.push(loud)
    news = endpointer.pause()
    assert [type(item) for item in news] == [Ended]
    assert news[0].segment.end_sample <= 16_000 and news[0].segment.id == 0
    assert endpointer.pause() == [] and endpointer.open_segment is None
    later = [*endpointer.push(np.zeros(16_000, np.float32)), *endpointer.push(loud)]
    later += endpointer.flush()
    ended = [item.segment for item in later if isinstance(item, Ended)]
    assert [segment.id for segment in ended] == [1]
    assert 31_000 <= ended[0].start_sample + 4_800 <= 33_000
    assert ended[0].start_sample >= news[0].segment.end_sample


def test_speech_that_goes_on_at_once_after_a_pause_loses_nothing():
    endpointer = Endpointer(LoudIsSpeech())
    loud = np.full(16_100, 0.5, np.float32)
    first = endpointer.push(loud), endpointer.pause()
    second = [*endpointer.push(loud), *endpointer.flush()]
    segments = [i.segment for news in (*first, second) for i in news if isinstance(i, Ended)]
    assert sum(len(segment.samples) for segment in segments) == 32_200
