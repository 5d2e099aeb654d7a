from __future__ import annotations

import numpy as np
import pytest

from edge_audiokv.errors import PolicyError
from edge_audiokv.kv import policy as module
from edge_audiokv.kv.policy import Policy, make_policy, policies
from edge_audiokv.kv.profile import HeadProfile
from edge_audiokv.kv.shape import KVShape


def test_unknown_name_lists_the_choices():
    with pytest.raises(PolicyError) as error:
        make_policy("nope")
    assert "audiokv-edge" in str(error.value) and "snapkv" in str(error.value)


def test_unknown_option_lists_the_choices():
    with pytest.raises(PolicyError, match="kernel"):
        make_policy("snapkv", windows=3)


def test_options_are_converted_from_text_and_checked():
    assert make_policy("snapkv", window="16").window == 16
    with pytest.raises(PolicyError, match="cannot be 'many'"):
        make_policy("snapkv", window="many")


def test_every_policy_names_itself_and_documents_its_source():
    import sys

    for name, cls in policies().items():
        assert cls.name == name
        doc = sys.modules[cls.__module__].__doc__ or ""
        assert doc.startswith(name), f"{name}: the docstring opens with the name"
        assert len(doc) > 60


def test_entry_points_add_policies_but_cannot_replace_ours(monkeypatch):
    class Other(Policy):
        name = "other"

        def score(self, view):
            return view.attention()

    class Unscored(Policy):
        name = "unscored"

    class Entry:
        def __init__(self, name, target):
            self.name, self.value, self.target = name, f"pkg:{name}", target

        def load(self):
            return self.target

    monkeypatch.setattr(module, "_registry", dict(module._registry))
    entries = [Entry("other", Other), Entry("snapkv", Other)]
    monkeypatch.setattr(module, "entry_points", lambda group: entries)
    assert isinstance(make_policy("other"), Other)
    assert not isinstance(make_policy("snapkv"), Other)
    monkeypatch.setattr(module, "entry_points", lambda group: [Entry("bad", 3)])
    with pytest.raises(PolicyError, match="not a Policy"):
        policies()
    monkeypatch.setattr(module, "entry_points", lambda group: [Entry("unscored", Unscored)])
    with pytest.raises(PolicyError, match="how it scores"):
        policies()


def test_budgets_of_a_policy_without_weights_are_equal():
    shape = KVShape(4, 3, 3, 64)
    budgets = make_policy("snapkv").budgets(1200, shape, 1000)
    assert (budgets == 100).all()


@pytest.mark.parametrize(("share", "most"), [(0.2, 0.6), (0.4, 0.7), (0.8, 0.9)])
def test_no_head_of_ours_gets_more_than_its_reach_and_nothing_stays_unspent(share, most):
    shape = KVShape(4, 3, 3, 64)
    weights = np.full((4, 3), 1e-3, np.float32)
    weights[0, 0] = 1.0
    profile = HeadProfile("tiny", "", {"speech": weights, "loss": weights})
    total = int(share * 12 * 1000)
    policy = make_policy("audiokv-edge", profile=profile, reach=0.5)
    rows = policy.budgets(total, shape, 1000)
    assert rows.max() == rows[0, 0] <= np.ceil(1000 * most)
    assert 0.97 * total <= rows.sum() <= total
    whole = make_policy("audiokv-edge", profile=profile, reach=1.0)
    assert whole.budgets(total, shape, 1000)[0, 0] > rows[0, 0]
