"""SSS against re-computations written from the paper's equations, and what edge mode promises."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from edge_audiokv.kv.smoothing import cut_off, pool, smooth_grid, smooth_paper, smooth_rows


def paper_by_hand(s: np.ndarray, gamma: float, alpha: float) -> np.ndarray:
    """Eq 16-17 of 2604.06694 with an explicit Fourier sum, one head."""
    n = len(s)
    k_all = np.arange(n // 2 + 1)
    t = np.arange(n)
    spectrum = np.array([(s * np.exp(-2j * np.pi * k * t / n)).sum() for k in k_all])
    energy = np.abs(spectrum) ** 2
    cut = next(k for k in k_all if energy[: k + 1].sum() >= gamma * energy.sum())
    low = np.zeros(n)
    for k in range(cut + 1):
        weight = 1 if k == 0 or (n % 2 == 0 and k == n // 2) else 2
        low += weight / n * (spectrum[k] * np.exp(2j * np.pi * k * t / n)).real
    return (1 - alpha) * s + alpha * low


@pytest.mark.parametrize("n", [7, 8, 33])
def test_paper_mode_matches_the_equations(n):
    rng = np.random.default_rng(n)
    s = rng.exponential(size=(3, n)).astype(np.float32)
    expected = [paper_by_hand(row.astype(float), 0.7, 0.5) for row in s]
    np.testing.assert_allclose(smooth_paper(s, gamma=0.7, alpha=0.5), expected, atol=1e-5)


def test_paper_mode_leaves_the_order_of_smooth_scores_alone():
    # The mean alone holds more than gamma of the energy: k* = 0, every row moves by the same map.
    s = (1 + 0.3 * np.sin(np.linspace(0, 40, 300))).astype(np.float32)[None]
    np.testing.assert_array_equal(np.argsort(smooth_paper(s))[0], np.argsort(s)[0])


def test_cut_off_by_hand():
    energy = np.array([[4.0, 3.0, 2.0, 1.0]])
    assert cut_off(energy, 0.7)[0] == 1  # 4 + 3 of 10
    assert cut_off(energy, 0.71)[0] == 2
    assert cut_off(np.zeros((1, 4)), 0.7)[0] == 0


def test_edge_mode_does_smooth_what_paper_mode_leaves():
    rng = np.random.default_rng(1)
    s = (1 + 0.5 * np.sin(np.linspace(0, 12, 400)) + 0.2 * rng.standard_normal(400)).astype(
        np.float32
    )[None]
    rough = np.abs(np.diff(s)).sum()
    assert np.abs(np.diff(smooth_grid(s))).sum() < 0.7 * rough


def test_edge_mode_does_not_leak_the_newest_into_the_oldest():
    ramp = np.linspace(0, 1, 300, dtype=np.float32)[None] ** 4
    circular = smooth_paper(ramp, gamma=0.9, alpha=1.0)[0, :20].mean()
    reflected = smooth_grid(ramp, gamma=0.9, alpha=1.0)[0, :20].mean()
    assert abs(reflected) < 0.25 * abs(circular)


def test_edge_mode_keeps_the_mean_and_alpha_zero_keeps_all():
    rng = np.random.default_rng(2)
    s = rng.exponential(size=(4, 101)).astype(np.float32)
    np.testing.assert_allclose(smooth_grid(s).mean(axis=1), s.mean(axis=1), rtol=1e-4)
    np.testing.assert_allclose(smooth_grid(s, alpha=0.0), s, atol=1e-6)


def test_rows_are_smoothed_on_the_time_grid_and_text_is_left_alone():
    rng = np.random.default_rng(3)
    full = rng.exponential(size=(1, 1, 64)).astype(np.float32)
    frames = np.arange(64, dtype=np.int32)[None, None]
    whole = smooth_rows(full, frames)
    np.testing.assert_allclose(whole[0, 0], smooth_grid(full[0])[0], atol=1e-6)
    mixed = np.concatenate([[[[9.0]]], full], axis=2).astype(np.float32)
    with_text = smooth_rows(mixed, np.concatenate([[[[-1]]], frames], axis=2).astype(np.int32))
    assert with_text[0, 0, 0] == 9.0
    np.testing.assert_allclose(with_text[0, 0, 1:], whole[0, 0], atol=1e-6)


def test_gaps_are_bridged_at_their_place_in_time():
    # Two bumps of equal height; half of the first is gone, survivors keep their time.
    time = np.arange(200)
    s = np.exp(-(((time - 50) / 10) ** 2)) + np.exp(-(((time - 150) / 10) ** 2))
    kept = np.flatnonzero((time >= 100) | (time % 2 == 0)).astype(np.int32)
    out = smooth_rows(s[kept].astype(np.float32)[None, None], kept[None, None])[0, 0]
    first, second = out[kept < 100].max(), out[kept >= 100].max()
    assert abs(first - second) < 0.02


def test_pooling_matches_a_plain_average_and_maximum():
    s = np.array([[1.0, 5, 2, 0, 4]], np.float32)
    np.testing.assert_allclose(pool(s, 3), [[2, 8 / 3, 7 / 3, 2, 4 / 3]], rtol=1e-6)
    np.testing.assert_allclose(pool(s, 3, mode="max"), [[5, 5, 5, 4, 4]])
    np.testing.assert_allclose(pool(s, 1), s)


@pytest.mark.parametrize("kernel", range(1, 9))
def test_pooling_is_scipys_filter(kernel):
    s = np.random.default_rng(kernel).exponential(size=(2, 3, 40)).astype(np.float32)
    mean = ndimage.uniform_filter1d(s, kernel, axis=-1, mode="constant", cval=0.0)
    most = ndimage.maximum_filter1d(s, kernel, axis=-1, mode="constant", cval=-np.inf)
    np.testing.assert_allclose(pool(s, kernel), mean, rtol=1e-5)
    np.testing.assert_array_equal(pool(s, kernel, mode="max"), most)


def test_240_heads_of_8192_frames_in_one_call():
    s = np.random.default_rng(0).exponential(size=(30, 8, 8192)).astype(np.float32)
    frames = np.broadcast_to(np.arange(8192, dtype=np.int32), s.shape)
    out = smooth_rows(s, frames)
    assert out.shape == s.shape and out.dtype == np.float32 and np.isfinite(out).all()
