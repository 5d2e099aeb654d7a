"""Where speech starts and ends: the guarantees for any stream, and real speech."""

from __future__ import annotations

import json
import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_audiokv.audio.endpoint import Ended, EndpointConfig, Endpointer, Started, segments
from edge_audiokv.audio.files.file import FileSource, read_all
from edge_audiokv.audio.vad import FRAME_SAMPLES, VoiceDetector

FRAME_MS = 1000 * FRAME_SAMPLES / 16_000


class LoudDetector:
    """Probability = the frame's first sample: a test writes what the detector will say."""

    def probabilities(self, frames):
        return frames[:, 0].copy()

    def reset(self):
        pass


def stream(probabilities, tail=0):
    """A stream whose frames have these probabilities, and `tail` samples of a last one."""
    sound = np.repeat(np.asarray(probabilities, np.float32), FRAME_SAMPLES)
    return np.concatenate([sound, np.full(tail, 0.9, np.float32)])


def run(sound, config, sizes=(1600,)):
    """All news, pushed in pieces of the given sizes in turn."""
    endpointer = Endpointer(LoudDetector(), config)
    news, at, turn = [], 0, 0
    while at < len(sound):
        size = sizes[turn % len(sizes)]
        news += endpointer.push(sound[at : at + size])
        at, turn = at + size, turn + 1
    return news + endpointer.flush()


def spoken(news):
    return [item.segment for item in news if isinstance(item, Ended)]


# Runs of one probability: what speech looks like, longer and shorter than every setting.
runs = st.lists(
    st.tuples(st.sampled_from([0.0, 0.2, 0.4, 0.6, 1.0]), st.integers(1, 60)), max_size=12
)
configs = st.builds(
    EndpointConfig,
    threshold=st.sampled_from([0.3, 0.5, 0.8]),
    prefix_padding_ms=st.sampled_from([0, 100, 300]),
    silence_duration_ms=st.sampled_from([32, 200, 500]),
    suffix_padding_ms=st.sampled_from([0, 200, 600]),
    min_speech_ms=st.sampled_from([0, 100, 200]),
    max_segment_s=st.sampled_from([1.0, 1.7, 5.0]),
)
pieces = st.lists(st.integers(1, 40_000), min_size=1, max_size=4)


@settings(max_examples=200, deadline=None)
@given(runs=runs, tail=st.integers(0, FRAME_SAMPLES - 1), config=configs, sizes=pieces)
def test_guarantees_hold_for_any_stream(runs, tail, config, sizes):
    probabilities = np.concatenate([np.full(count, p) for p, count in runs] or [np.zeros(0)])
    sound = stream(probabilities, tail)
    news = run(sound, config, sizes)

    # One Started, then one Ended for each id, counting up.
    started = [item for item in news if isinstance(item, Started)]
    found = spoken(news)
    assert [item.id for item in started] == [item.id for item in found] == list(range(len(found)))
    kinds = [type(item) for item in news]
    assert kinds == [Started, Ended] * len(found)
    end = 0
    for begin, segment in zip(started, found, strict=True):
        assert begin.start_sample == segment.start_sample
        assert end <= segment.start_sample < segment.end_sample <= len(sound)
        assert segment.end_sample - segment.start_sample <= config.max_segment_s * 16_000
        np.testing.assert_array_equal(
            segment.samples, sound[segment.start_sample : segment.end_sample]
        )
        end = segment.end_sample
    for segment, following in pairwise(found):
        if segment.cut:
            assert following.start_sample == segment.end_sample
    assert not found or not found[-1].cut

    # Every stretch that is voiced without a break for long enough lies in some segment.
    covered = np.zeros(len(sound), bool)
    for segment in found:
        covered[segment.start_sample : segment.end_sample] = True
    needed = max(1, -(-config.min_speech_ms // FRAME_MS))
    voiced = np.concatenate([[False], probabilities >= config.threshold, [False]])
    edges = np.flatnonzero(np.diff(voiced.astype(int)))
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        if last - first >= needed:
            assert covered[first * FRAME_SAMPLES : last * FRAME_SAMPLES].all()


@settings(max_examples=50, deadline=None)
@given(runs=runs, config=configs, sizes=pieces)
def test_piece_size_changes_nothing(runs, config, sizes):
    sound = stream(np.concatenate([np.full(count, p) for p, count in runs] or [np.zeros(0)]), 100)
    assert [
        (item.id, item.start_sample, item.end_sample, item.cut)
        for item in spoken(run(sound, config, sizes))
    ] == [
        (item.id, item.start_sample, item.end_sample, item.cut)
        for item in spoken(run(sound, config, (len(sound) or 1,)))
    ]


def test_silence_gives_nothing_and_stays_small():
    endpointer = Endpointer(LoudDetector())
    before = endpointer.nbytes
    for _ in range(600):
        assert endpointer.push(np.zeros(16_000, np.float32)) == []
    assert endpointer.flush() == []
    assert endpointer.nbytes == before < 8_000_000


def test_padding_and_silence_are_as_configured():
    config = EndpointConfig(prefix_padding_ms=320, suffix_padding_ms=160, silence_duration_ms=480)
    news = run(stream([0] * 30 + [1] * 40 + [0] * 40), config)
    segment = spoken(news)[0]
    assert segment.start_sample == (30 - 10) * FRAME_SAMPLES
    assert segment.end_sample == (70 + 5) * FRAME_SAMPLES
    assert segment.start_s == pytest.approx(0.64)


@settings(max_examples=50, deadline=None)
@given(runs=runs, first=configs, second=configs, sizes=pieces)
def test_a_stream_that_ended_goes_on_cut_otherwise(runs, first, second, sizes):
    """As a new endpointer would cut what follows, at the places of the one stream."""
    sound = stream(np.concatenate([np.full(count, p) for p, count in runs] or [np.zeros(0)]), 100)
    endpointer = Endpointer(LoudDetector(), first)
    found = spoken([*endpointer.push(sound), *endpointer.flush()])
    if second.max_segment_s > first.max_segment_s:
        with pytest.raises(ValueError, match="at most"):
            endpointer.adjust(second)
        return
    endpointer.adjust(second)
    after = spoken([*endpointer.push(sound), *endpointer.flush()])
    alone = spoken(run(sound, second, sizes))
    assert [(item.start_sample - len(sound), item.end_sample - len(sound)) for item in after] == [
        (item.start_sample, item.end_sample) for item in alone
    ]
    assert [item.id for item in found + after] == list(range(len(found) + len(alone)))


def test_pauses_shorter_than_the_silence_do_not_split():
    config = EndpointConfig(silence_duration_ms=500)
    sound = stream([1] * 20 + [0] * 14 + [1] * 20 + [0] * 17 + [1] * 20)
    assert len(spoken(run(sound, config))) == 2


def test_a_click_is_dropped_and_a_word_is_not():
    config = EndpointConfig(min_speech_ms=160)
    assert run(stream([0] * 20 + [1] * 4 + [0] * 40), config) == []
    assert len(spoken(run(stream([0] * 20 + [1] * 5 + [0] * 40), config))) == 1


def test_start_is_told_while_speech_goes_on():
    endpointer = Endpointer(LoudDetector())
    news = endpointer.push(stream([0] * 20 + [1] * 20))
    assert [type(item) for item in news] == [Started]
    live = endpointer.open_segment
    assert live is not None and live.id == news[0].id
    assert live.start_sample == news[0].start_sample
    assert len(live.samples) == 40 * FRAME_SAMPLES - live.start_sample
    # The copy is the caller's: what comes later does not change it.
    kept = live.samples.copy()
    endpointer.push(stream([1] * 200))
    np.testing.assert_array_equal(live.samples, kept)
    endpointer.flush()
    assert endpointer.open_segment is None


def test_a_pause_is_known_from_its_first_frame_to_its_end():
    endpointer = Endpointer(LoudDetector(), EndpointConfig(silence_duration_ms=320))
    known = []
    for probability in [0] * 3 + [1] * 10 + [0] * 4 + [1] * 5 + [0] * 12:
        endpointer.push(stream([probability]))
        known.append(endpointer.in_pause)
    # The last two frames lie behind the silence that ended the segment.
    assert known == [False] * 13 + [True] * 4 + [False] * 5 + [True] * 9 + [False] * 3


def test_long_speech_ends_at_ever_shorter_pauses():
    # Pauses of 320 ms: 480 ms are needed after 2 s of speech, under 300 after 8 of at most 10.
    config = EndpointConfig(silence_duration_ms=480, suffix_padding_ms=160, max_segment_s=10)
    sound = stream([1] * 60 + [0] * 10 + [1] * 180 + [0] * 10 + [1] * 60)
    first, second = spoken(run(sound, config))
    assert not first.cut and not second.cut
    assert first.end_sample == (60 + 10 + 180 + 5) * FRAME_SAMPLES
    assert second.end_sample == len(sound)


def test_long_speech_is_split_where_it_is_quietest():
    config = EndpointConfig(max_segment_s=5)
    rng = np.random.default_rng(1)
    sound = rng.uniform(0.6, 1.0, 16_000 * 8).astype(np.float32)
    quiet = slice(16_000 * 4, 16_000 * 4 + 3_200)
    sound[quiet] = 0.51
    found = spoken(run(sound, config))
    assert found[0].cut and quiet.start <= found[0].end_sample <= quiet.stop
    assert found[1].start_sample == found[0].end_sample
    assert sum(len(segment.samples) for segment in found) == len(sound)


def test_goes_on_after_flush_with_new_ids():
    endpointer = Endpointer(LoudDetector(), first_id=7)
    endpointer.push(stream([1] * 20))
    first = spoken(endpointer.flush())[0]
    endpointer.push(stream([1] * 20))
    second = spoken(endpointer.flush())[0]
    assert (first.id, second.id) == (7, 8)
    assert second.start_sample == first.end_sample == 20 * FRAME_SAMPLES


@pytest.mark.parametrize(
    "wrong",
    [
        {"threshold": 0.0},
        {"threshold": 1.0},
        {"max_segment_s": 31},
        {"max_segment_s": 0.5},
        {"silence_duration_ms": 0},
        {"prefix_padding_ms": -1},
        {"min_speech_ms": 9_000},
        {"prefix_padding_ms": 600, "max_segment_s": 1.0},
    ],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError):
        EndpointConfig(**wrong)


def test_two_real_sentences_are_two_segments(clips):
    with FileSource(clips["two_sentences"]) as source:
        found = list(segments(source, VoiceDetector()))
    assert len(found) == 2
    # The pause of 1.5 s lies between them, less the padding on both sides.
    pause_s = found[1].start_s - found[0].end_s
    assert 0.7 < pause_s < 1.5
    assert not any(segment.cut for segment in found)


def test_each_real_clip_is_one_segment_with_all_its_sound(clips):
    for name in ("harbour", "garden", "letter"):
        sound = read_all(clips[name])
        with FileSource(clips[name]) as source:
            (segment,) = segments(source, VoiceDetector())
        inside = np.square(segment.samples, dtype=np.float64).sum()
        assert inside / np.square(sound, dtype=np.float64).sum() > 0.999


SHARED = Path(os.environ.get("EDGE_AUDIOKV_SHARED", Path(__file__).parents[3] / "shared"))
CHAPTERS = SHARED / "data" / "dev_librispeech"


def test_minutes_of_real_speech_keep_it_and_stay_in_bounds(clips):
    """A chapter where it lies beside the checkout, else the clips of the tests over and over."""
    paths = [clips[name] for name in ("harbour", "garden", "letter", "two_sentences")] * 5
    if CHAPTERS.is_dir():
        lines = (CHAPTERS / "manifest.jsonl").read_text(encoding="utf-8").splitlines()[:20]
        paths = [CHAPTERS / json.loads(line)["path"] for line in lines]
    sound = np.concatenate([read_all(path) for path in paths])
    endpointer = Endpointer(VoiceDetector(), EndpointConfig(max_segment_s=10))
    news = []
    for first in range(0, len(sound), 1600):
        news += endpointer.push(sound[first : first + 1600])
    found = spoken(news + endpointer.flush())
    inside = sum(np.square(segment.samples, dtype=np.float64).sum() for segment in found)
    assert inside / np.square(sound, dtype=np.float64).sum() > 0.995
    assert max(len(segment.samples) for segment in found) <= 160_000
