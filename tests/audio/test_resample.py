"""Pieces of any size resample as the whole does: no seams, no drift."""

from __future__ import annotations

import numpy as np
import pytest
import soxr
from hypothesis import given
from hypothesis import strategies as st

from edge_audiokv.audio.resample import StreamResampler, to_mono
from edge_audiokv.errors import InputError


@given(
    rate_hz=st.sampled_from([8_000, 22_050, 44_100, 48_000]),
    sizes=st.lists(st.integers(0, 3_000), min_size=1, max_size=12),
    seed=st.integers(0, 9),
)
def test_pieces_equal_the_whole(rate_hz, sizes, seed):
    sound = np.random.default_rng(seed).normal(0, 0.1, sum(sizes)).astype(np.float32)
    resampler = StreamResampler(rate_hz)
    pieces = [resampler.push(piece) for piece in np.split(sound, np.cumsum(sizes)[:-1])]
    pieces.append(resampler.push(np.zeros(0, np.float32), last=True))
    joined = np.concatenate(pieces)
    whole = soxr.resample(sound, rate_hz, 16_000)
    assert abs(len(joined) - len(whole)) <= 1
    shortest = min(len(joined), len(whole))
    np.testing.assert_allclose(joined[:shortest], whole[:shortest], atol=1e-5)


def test_16_khz_passes_untouched():
    sound = np.arange(10, dtype=np.float32)
    assert StreamResampler(16_000).push(sound) is sound


def test_nothing_above_8_khz_folds_back(tone):
    """A 10 kHz tone at 48 kHz would alias to 6 kHz in a naive resampler."""
    out = StreamResampler(48_000).push(tone(48_000, 1.0, 10_000), last=True)
    assert np.abs(out[1_000:-1_000]).max() < 1e-3


def test_delay_is_short_enough_to_talk_over():
    for rate_hz in (8_000, 44_100, 48_000):
        resampler = StreamResampler(rate_hz)
        resampler.push(np.zeros(rate_hz, np.float32))
        assert 0 < resampler.delay_s < 0.1


@pytest.mark.parametrize("rate_hz", [0, -1, 999, 10_000_000])
def test_impossible_rates_are_refused(rate_hz):
    with pytest.raises(InputError, match="out of range"):
        StreamResampler(rate_hz)


def test_mono_is_the_mean_over_channels():
    frames = np.array([[1, 0], [0.5, 0.5]], np.float32)
    np.testing.assert_array_equal(to_mono(frames), [0.5, 0.5])
    assert to_mono(frames[:, 0]).shape == (2,)
    assert to_mono(frames[:, :1]).shape == (2,)
