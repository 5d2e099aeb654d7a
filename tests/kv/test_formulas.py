"""Hand-worked cases of the methods' formulas."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edge_audiokv.kv.merge import merge_nearest
from edge_audiokv.kv.modality import by_quota, shared_over_heads
from edge_audiokv.kv.policy import make_policy
from edge_audiokv.kv.profile import HeadProfile
from edge_audiokv.kv.select import select
from edge_audiokv.kv.shape import KVShape
from edge_audiokv.kv.view import Kind, KVView


def view_of(scores, *, kinds=None, target=2, **fields):
    """A view of full heads; scores [L, H, T] given, positions 0..T-1."""
    scores = np.asarray(scores, np.float32)
    n_layer, n_head, n_rows = scores.shape
    kinds = [Kind.AUDIO] * n_rows if kinds is None else kinds
    return KVView(
        shape=KVShape(n_layer, n_head, 1, 32),
        counts=np.full((n_layer, n_head), n_rows, np.int32),
        positions=np.broadcast_to(np.arange(n_rows, dtype=np.int32), scores.shape).copy(),
        kind_of=np.asarray(kinds, np.int8),
        targets=np.full((n_layer, n_head), target, np.int32),
        scores=scores,
        **fields,
    )


def kept(policy, view):
    rows = policy.select(view)
    return [
        [list(rows.of(i, j)) for j in range(view.counts.shape[1])] for i in range(len(view.counts))
    ]


def test_streaming_llm_keeps_sinks_and_the_newest():
    view = view_of(np.zeros((1, 1, 8)), target=4)
    assert kept(make_policy("streaming-llm", n_sinks=2), view) == [[[0, 1, 6, 7]]]


def test_snapkv_pools_before_it_ranks():
    # 0.6 alone loses to 0.5 beside 0.4: pooled 3 wide 0.2, 0.3; the window (row 5) stays.
    view = view_of([[[0.6, 0, 0, 0.5, 0.4, 0]]], target=3)
    assert kept(make_policy("snapkv", window=1, kernel=3), view) == [[[3, 4, 5]]]
    assert kept(make_policy("snapkv", window=1, kernel=1), view) == [[[0, 3, 5]]]


def test_tova_averages_the_layers_heads_and_keeps_one_set():
    view = view_of([[[0.6, 0.1, 0.3], [0.0, 0.5, 0.4]], [[0.9, 0.1, 0.0], [0.9, 0.0, 0.1]]])
    # Layer 0: means .30 .30 .35 -> rows 1, 2 (the newer of equals); layer 1: .9 .05 .05.
    assert kept(make_policy("tova"), view) == [[[1, 2], [1, 2]], [[0, 2], [0, 2]]]


def test_h2o_gives_half_to_recent_rows_and_half_to_the_heaviest():
    view = view_of(
        np.zeros((1, 1, 6)), target=4, total=np.array([[[5, 1, 4, 0, 0, 0]]], np.float32)
    )
    assert kept(make_policy("h2o"), view) == [[[0, 2, 4, 5]]]


def test_keydiff_drops_what_resembles_the_mean_key():
    keys = np.zeros((4, 32), np.float32)
    keys[:, 0] = [1, 1, 1, -1]
    keys[2, 1] = 1
    view = view_of(np.zeros((1, 1, 4)), read_keys=lambda layer, head: keys)
    assert kept(make_policy("keydiff"), view) == [[[2, 3]]]


def test_madakv_splits_a_heads_budget_by_modality_mass():
    kinds = [Kind.PROMPT] * 4 + [Kind.AUDIO] * 4
    # Audio holds 75 % of the mass: 3 of 4 rows.
    view = view_of([[[0.1, 0.06, 0.05, 0.04, 0.1, 0.3, 0.2, 0.15]]], kinds=kinds, target=4)
    assert kept(make_policy("madakv"), view) == [[[0, 5, 6, 7]]]


def test_quota_of_no_text_is_all_audio():
    kinds = [Kind.PROMPT, Kind.AUDIO, Kind.AUDIO]
    view = view_of([[[1.0, 0.1, 0.2]]], kinds=kinds)
    scores = by_quota(view, view.attention(), np.ones((1, 1)))
    rows = select(scores, np.zeros(scores.shape, np.int8), view.counts, view.targets)
    assert list(rows.of(0, 0)) == [1, 2]


def test_shared_scores_ignore_heads_that_dropped_a_position():
    view = view_of([[[0.4, 0.2], [0.8, 0.0]]])
    positions = np.array([[[0, 1], [1, -1]]], np.int32)
    view = replace(view, positions=positions, counts=np.array([[2, 1]], np.int32))
    np.testing.assert_allclose(shared_over_heads(view, view.attention())[0, 0], [0.4, 0.5])


def test_purekv_scores_layers_by_their_probe_and_own_values():
    values = np.ones((3, 32), np.float32)
    values[2] *= 3
    view = view_of(
        [[[0.5, 0.3, 0.2]], [[0.0, 0.0, 1.0]]],
        target=1,
        read_values=lambda layer, head: values if layer else np.ones((3, 32), np.float32),
    )
    # One probe, layer 0: layer 1 ranks 0.5, 0.3, 0.2 * 3.
    assert kept(make_policy("purekv", n_probes=1, window=0), view) == [[[0]], [[2]]]


def test_expected_attention_weighs_by_value_norm():
    values = np.ones((3, 32), np.float32)
    values[1] *= 10
    view = view_of(
        np.zeros((1, 1, 3)),
        target=1,
        ema=np.array([[[0.5, 0.1, 0.4]]], np.float32),
        read_values=lambda layer, head: values,
    )
    assert kept(make_policy("expected-attention", n_sinks=0), view) == [[[1]]]


def test_headrouter_keeps_one_set_weighted_by_the_profile():
    scores = [[[0.9, 0.1, 0.0], [0.0, 0.1, 0.9]]]
    profile = HeadProfile("m", "", {"speech": np.array([[0.0, 1.0]], np.float32)})
    view = view_of(scores, target=1, kinds=[Kind.AUDIO] * 3)
    assert kept(make_policy("headrouter", profile=profile), view) == [[[2], [2]]]


def test_pyramid_gives_early_layers_more():
    budgets = make_policy("pyramidkv", window=0).budgets(400, KVShape(4, 1, 1, 32), 1000)
    assert (np.diff(budgets[:, 0]) < 0).all() and budgets.sum() <= 400


def test_adakv_gives_more_to_the_head_that_owns_the_best_rows():
    scores = np.zeros((1, 2, 40), np.float32)
    scores[0, 0, :20] = 1
    policy = make_policy("adakv", window=0, floor_share=0.2)
    budgets = policy.budgets(40, KVShape(1, 2, 1, 32), 40, view=view_of(scores))
    assert budgets[0, 0] > 1.5 * budgets[0, 1]


def test_edge_gives_unseen_rows_their_heads_mean():
    view = view_of(
        np.zeros((1, 1, 4)),
        ema=np.array([[[0.8, 0.2, 0.0, 0.0]]], np.float32),
        ema_weight=np.array([[[1, 1, 0, 0]]], np.float32),
    )
    np.testing.assert_allclose(make_policy("audiokv-edge").score(view)[0, 0], [0.8, 0.2, 0.5, 0.5])


def test_merging_folds_a_dropped_row_into_the_more_similar_neighbour():
    keys = np.zeros((4, 32), np.float32)
    keys[0, 0] = keys[3, 1] = 1
    keys[1, :2] = [1, 0.1]
    keys[2, :2] = [0.1, 1]
    values = np.arange(4, dtype=np.float32)[:, None] * np.ones((4, 32), np.float32)
    rows, new = merge_nearest(
        keys,
        values,
        np.arange(4, dtype=np.int32),
        np.array([0, 3], np.int32),
        np.ones(4, bool),
        reach=2,
        threshold=0.5,
    )
    assert list(rows) == [0, 1]  # counted after the keep
    np.testing.assert_allclose(new[:, 0], [0.5, 2.5])  # (0 + 1) / 2, (3 + 2) / 2


def test_merging_respects_reach_threshold_and_text():
    keys = np.eye(4, 32, dtype=np.float32)
    values = np.ones((4, 32), np.float32)
    kept_rows = np.array([0, 3], np.int32)
    everything = np.ones(4, bool)
    positions = np.array([0, 10, 20, 30], np.int32)
    for mergeable, reach, threshold in (
        (everything, 100, 0.5),  # orthogonal keys
        (everything, 2, -1.0),  # too far
        (np.zeros(4, bool), 100, -1.0),  # text
    ):
        rows, _ = merge_nearest(
            keys, values, positions, kept_rows, mergeable, reach=reach, threshold=threshold
        )
        assert rows.size == 0
