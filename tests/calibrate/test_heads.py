from __future__ import annotations

import numpy as np
import pytest

from edge_audiokv.calibrate.heads import HitTable, hit_ratio
from edge_audiokv.calibrate.prefilled import divergence, likelihood
from edge_audiokv.calibrate.sound import loud_frames


def test_hit_ratio_by_hand():
    scores = np.zeros((1, 2, 30), np.float32)
    scores[0, 0, 10:16] = 1.0  # looks at the word (12..14) and its surroundings
    scores[0, 1, 20:26] = 1.0  # looks elsewhere
    positions = np.broadcast_to(np.arange(30, dtype=np.int32), scores.shape)
    ratio = hit_ratio(scores, positions, 12, 14, k=6)
    np.testing.assert_allclose(ratio, [[3 / 6, 0]])


def test_hit_ratio_counts_positions_not_rows_and_ignores_padding():
    scores = np.array([[[0.9, 0.8, 0.0]]], np.float32)
    positions = np.array([[[5, 40, -1]]], np.int32)
    np.testing.assert_allclose(hit_ratio(scores, positions, 40, 41, k=2), [[0.5]])
    # With fewer rows than k the divisor stays k.
    np.testing.assert_allclose(hit_ratio(scores, positions, 40, 41, k=24), [[1 / 24]])


def test_table_is_the_mean_over_steps():
    table = HitTable.empty(1, 2)
    table.add(np.array([[0.5, 0.0]], np.float32))
    table.add(np.array([[0.0, 0.25]], np.float32))
    np.testing.assert_allclose(table.mean, [[0.25, 0.125]])


def test_likelihood_matches_a_plain_softmax():
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((3, 7)).astype(np.float32)
    ids = [2, 0, int(logits[2].argmax())]
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    nll, hits = likelihood(logits, ids)
    np.testing.assert_allclose(nll, -np.log(softmax[np.arange(3), ids]).sum(), rtol=1e-5)
    assert hits == sum(int(row.argmax() == i) for row, i in zip(logits, ids, strict=True))


def test_divergence_is_nought_for_equal_distributions_and_kl_for_others():
    rng = np.random.default_rng(1)
    full, cut = rng.standard_normal((2, 4, 9)).astype(np.float32)
    p, q = (np.exp(x) / np.exp(x).sum(axis=1, keepdims=True) for x in (full, cut))
    expected = (p * np.log(p / q)).sum()
    np.testing.assert_allclose(divergence(full, cut), expected, rtol=1e-4)
    # Logits are free up to a constant.
    assert divergence(full, full + 3) == pytest.approx(0, abs=1e-5)


def test_loud_frames_are_within_twenty_decibels_of_the_loudest():
    audio = np.concatenate([np.full(10, 1.0), np.full(10, 0.2), np.full(10, 0.05), np.ones(3)])
    np.testing.assert_array_equal(
        loud_frames(audio.astype(np.float32), 4, 10), [True, True, False, True]
    )


def test_loud_frames_of_rows_that_are_no_whole_number_of_samples():
    audio = np.zeros(16000, np.float32)
    audio[[0, 15999]] = 1
    loud = loud_frames(audio, 13, 16000 / 13)
    assert loud.tolist() == [True, *[False] * 11, True]
