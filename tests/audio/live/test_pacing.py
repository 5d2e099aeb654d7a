"""--realtime: sound comes when it would, and a late reader is not made later."""

from __future__ import annotations

import pytest

from edge_audiokv.audio.files.file import FileSource
from edge_audiokv.audio.live.pacing import Paced


def test_a_file_takes_as_long_as_it_lasts(clips, clock):
    begin_s = clock.now()
    with Paced(FileSource(clips["harbour"]), clock) as source:
        assert source.realtime and source.describe() == str(clips["harbour"])
        while source.read(1600) is not None:
            assert clock.now() - begin_s == pytest.approx(source.clock_s)
    assert clock.now() - begin_s == pytest.approx(source.clock_s)
    assert max(clock.slept_s) <= 0.1 + 1e-9


def test_a_late_reader_catches_up_without_waiting(clips, clock):
    with Paced(FileSource(clips["harbour"]), clock) as source:
        source.read(1600)
        clock.time_s += 2.0
        before = len(clock.slept_s)
        for _ in range(20):
            source.read(1600)
        assert len(clock.slept_s) == before
