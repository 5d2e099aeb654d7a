"""Profiles that come with the catalog are usable as they lie there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_audiokv.kv.policy import make_policy
from edge_audiokv.kv.profile import load_profile
from edge_audiokv.kv.shape import KVShape

PROFILES = sorted((Path(__file__).parents[2] / "models").glob("*/heads.json"))


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.parent.name)
def test_shipped_profile_gives_ragged_budgets_under_the_cap(path):
    profile = load_profile(path)
    assert profile.made_with.startswith("edge-audiokv calibrate") and profile.samples > 0
    speech = profile.weights("speech")
    shape = KVShape(*speech.shape, 3, 64)
    assert speech.max() > 2 * speech.mean(), "no head stands out"
    for name in ("audiokv", "audiokv-edge"):
        total = 400 * shape.n_head
        budgets = make_policy(name, profile=profile).budgets(
            total, shape, 1000, row_multiple=64, least_rows=32
        )
        assert 0.97 * total <= budgets.sum() <= total
        assert 2 <= len(np.unique(budgets)) <= 8


def test_there_is_a_shipped_profile():
    assert PROFILES
