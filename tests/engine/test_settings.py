"""Settings that cannot be are told where they are made, before anything is loaded."""

from __future__ import annotations

import math

import pytest

from edge_audiokv.engine.session import Session
from edge_audiokv.engine.settings import EngineSettings
from edge_audiokv.errors import InputError


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("mem", ["abc", "", "0", "-1", 4, None, "1" * 400]),
        ("gpu_mem", ["abc", "0", 4, "", 1.5]),
        ("kv_share", [math.nan, 0, -1, 2.0, "140%", "much", None, True]),
        ("word_weight", [math.nan, math.inf, -3, 11, "11", "nan"]),
        ("branches", [-1, 65, 1.5, None]),
        ("threads", [0, -5, 65, "x", 1.5]),
        ("type_k", ["zz", "", None]),
        ("type_v", ["f32"]),
        ("model", [None, 5]),
        ("kv_policy", [None]),
        ("kv_options", [None, [1], "x=1", {5: 1}]),
        ("provider", [None]),
        (
            "hotwords",
            [None, 5, ["a", 5], {"a": 1}, "1, 2", "a" * 61, [*map("a{}".format, range(101))]],
        ),
        ("translate", [5, ["en"]]),
        ("compute", ["", "  ", 1]),
        ("kv_device", ["", "gpu", "Vulkan0", None, 1]),
        ("gpu_layers", [-1, "some", "-1", 1.5, True, 1001]),
        ("context", ["", None]),
        ("placement", ["", "turn", None]),
        ("wake_word", [None, 5]),
        ("partial_interval_s", [-1.0, math.nan, "x", None]),
        ("endpoint", [None, 15.0]),
    ],
)
def test_what_cannot_be(name: str, values: list[object]) -> None:
    for value in values:
        with pytest.raises(InputError, match=name) as told:
            Session(**{name: value})
        assert told.value.cure or "write" in told.value.what


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("mem", 2, "mem: '2' is 2 bytes. Did you mean 2GB?"),
        ("mem", "500", "mem: '500' is 500 bytes. Did you mean 500MB?"),
        ("kv_share", 40, "kv_share: '40' means 4000 %. Did you mean 40%?"),
        ("kv_share", "40", "kv_share: '40' means 4000 %. Did you mean 40%?"),
    ],
)
def test_what_was_probably_meant_is_said(name: str, value: object, told: str) -> None:
    with pytest.raises(InputError) as error:
        EngineSettings(**{name: value})
    assert str(error.value) == told


def test_layers_on_the_cpu_are_a_contradiction() -> None:
    for layers in ("all", 3):
        with pytest.raises(InputError, match=r"gpu_layers .* compute is cpu"):
            EngineSettings(compute="cpu", gpu_layers=layers)
    for layers in (None, 0, "auto"):
        EngineSettings(compute="cpu", gpu_layers=layers)
    assert EngineSettings(gpu_layers="12").gpu_layers == 12


def test_what_can_be() -> None:
    assert EngineSettings(hotwords=" Argyle,\nvan  Dykvelt,, Argyle").hotwords == (
        "Argyle",
        "van Dykvelt",
    )
    assert EngineSettings(hotwords=["Argyle"]).hotwords == ("Argyle",)
    for options in ({"word_weight": 0}, {"word_weight": None}, {"branches": 0}, {"kv_share": 1}):
        EngineSettings(**options)
    assert EngineSettings(mem="50%").cap_bytes > 0
    assert EngineSettings(threads=1).n_threads == 1
