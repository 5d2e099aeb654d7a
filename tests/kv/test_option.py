"""Options of policies: the range that is told is the range that is taken."""

from __future__ import annotations

from dataclasses import dataclass, fields

import pytest

from edge_audiokv.errors import PolicyError
from edge_audiokv.kv.describe import options
from edge_audiokv.kv.option import option, range_of
from edge_audiokv.kv.policy import make_policy, policies

BOUNDED = [
    (name, item)
    for name, cls in policies().items()
    for item in fields(cls)
    if item.name != "profile" and isinstance(item.default, (int, float))
]


@pytest.mark.parametrize(("name", "item"), BOUNDED, ids=lambda x: getattr(x, "name", x))
def test_numbers_within_their_range_are_taken_and_others_refused(name, item) -> None:
    least, most = item.metadata["least"], item.metadata["most"]
    kind = type(item.default)
    for value in (least, most):
        if kind is float or float(value).is_integer():
            made = make_policy(name, **{item.name: value})
            assert getattr(made, item.name) == value and type(getattr(made, item.name)) is kind
    for value in (least - 1, most + 1, "nan"):
        with pytest.raises(PolicyError) as refused:
            make_policy(name, **{item.name: value})
        assert f"Option {item.name} of KV policy {name} cannot be" in str(refused.value)
        assert f"({range_of(item)})" in str(refused.value)


@pytest.mark.parametrize("name", [name for name in policies() if "pooling" in map(
    lambda item: item.name, options(policies()[name]))])  # fmt: skip
def test_texts_of_few_values_take_those(name) -> None:
    assert make_policy(name, pooling="max").pooling == "max"
    with pytest.raises(PolicyError, match="mean"):
        make_policy(name, pooling="median")


def test_a_policy_of_others_needs_no_words() -> None:
    @dataclass(frozen=True)
    class Foreign:
        plain: float = 0.5
        worded: int = option(3, "Rows of something.", least=1, most=9)

    plain, worded = fields(Foreign)
    assert (range_of(plain), range_of(worded)) == ("", "1 to 9")
    assert Foreign().worded == 3
