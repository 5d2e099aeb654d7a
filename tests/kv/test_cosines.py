"""The DCT against scipy's, for lengths odd and even."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import fft

from edge_audiokv.kv.cosines import dct, idct


@given(n=st.integers(1, 300), seed=st.integers(0, 2**32 - 1))
def test_both_ways_are_scipys(n: int, seed: int) -> None:
    signal = np.random.default_rng(seed).standard_normal((2, 3, n)).astype(np.float32)
    bins = dct(signal)
    assert bins.dtype == np.float32
    np.testing.assert_allclose(bins, fft.dct(signal, norm="ortho", axis=-1), atol=2e-5)
    back = idct(signal)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, fft.idct(signal, norm="ortho", axis=-1), atol=2e-5)


@pytest.mark.parametrize("n", [1, 2, 8191, 8192])
def test_there_and_back(n: int) -> None:
    signal = np.random.default_rng(n).exponential(size=(1, n)).astype(np.float32)
    np.testing.assert_allclose(idct(dct(signal)), signal, atol=1e-4)
