"""Cutting long audio: complete, bounded, at quiet points."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_audiokv.encoder.windows import split_points

TOKEN = 4


@given(
    n_samples=st.integers(0, 400),
    max_tokens=st.integers(1, 30),
    seed=st.integers(0, 2**16),
    silent=st.booleans(),
)
def test_ranges_cover_all_tokens_once_and_none_is_too_long(
    n_samples: int, max_tokens: int, seed: int, silent: bool
) -> None:
    audio = np.random.default_rng(seed).standard_normal(n_samples).astype(np.float32)
    ranges = split_points(audio * (not silent), TOKEN, max_tokens)
    covered = [token for start, end in ranges for token in range(start, end)]
    assert covered == list(range(-(-n_samples // TOKEN)))
    assert all(0 < end - start <= max_tokens for start, end in ranges)


@given(n_tokens=st.integers(31, 200))
def test_no_window_is_a_sliver(n_tokens: int) -> None:
    ranges = split_points(np.zeros(n_tokens * TOKEN, np.float32), TOKEN, 30)
    assert min(end - start for start, end in ranges) >= 15


def test_the_cut_falls_into_the_pause() -> None:
    audio = np.ones(40 * TOKEN, np.float32)
    audio[17 * TOKEN : 20 * TOKEN] = 0
    (first, second) = split_points(audio, TOKEN, 24)
    assert first == (0, 18) and second == (18, 40)


def test_digital_silence_is_cut_as_late_as_allowed() -> None:
    assert split_points(np.zeros(100 * TOKEN, np.float32), TOKEN, 40)[0] == (0, 40)
