"""The list of policies: whole sentences, the name once, nothing wider than the terminal."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from edge_audiokv.cli.policies import policies
from edge_audiokv.errors import PolicyError
from edge_audiokv.kv.describe import options
from edge_audiokv.kv.policy import make_policy
from edge_audiokv.kv.policy import policies as all_policies


@pytest.mark.parametrize("columns", ["60", "200"])
def test_the_list_is_whole_and_fits(monkeypatch, columns) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    lines = CliRunner().invoke(policies).output.splitlines()
    assert max(map(len, lines)) <= min(int(columns), 100)
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == list(all_policies())
    rows = " ".join(" ".join(lines).split())
    for name, fact in json.loads(CliRunner().invoke(policies, ["--json"]).output).items():
        assert f"{name} {fact['summary']}" in rows
        assert fact["summary"].endswith(".")
        assert not fact["summary"].startswith(name)


def test_one_policy_tells_its_options() -> None:
    lines = CliRunner().invoke(policies, ["snapkv"]).output.splitlines()
    assert lines[0] == "snapkv"
    assert lines[2].startswith("attention of the last prompt queries")
    assert any(line.split()[:1] == ["window"] for line in lines)


@pytest.mark.parametrize("name", list(all_policies()))
def test_every_policy_says_when_to_choose_it_and_every_option_what_it_does(name, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    output = CliRunner().invoke(policies, [name]).output
    assert max(map(len, output.splitlines())) <= 80
    text = " ".join(output.split())
    cls = all_policies()[name]
    assert cls.choose_when.endswith(".") and cls.choose_when in text
    for item in options(cls):
        assert len(item.words) >= 20 and item.words.endswith("."), item
        limits = f"; {item.range}" if item.range else ""
        assert f"{item.name} {item.default}{limits} {item.words}" in text
        # Whatever has no range is a name, whose words say which there are.
        assert item.range or isinstance(item.default, str), item


def test_json_has_the_same_words() -> None:
    facts = json.loads(CliRunner().invoke(policies, ["snapkv", "--json"]).output)["snapkv"]
    assert facts["options"] == {"window": 32, "kernel": 5, "pooling": "mean"}
    assert facts["option_words"]["pooling"]["range"] == "mean or max"
    assert facts["choose_when"] == all_policies()["snapkv"].choose_when


@pytest.mark.parametrize(
    ("name", "cure"),
    [("snapkw", "Did you mean snapkv? Choose from"), ("nope", "Choose from"), ("", "Choose from")],
)
def test_a_name_that_is_none_ends_as_it_does_for_kv_policy(call, name, cure) -> None:
    ran = call("policies", name)
    assert ran.code == 9 and f"no KV policy {name!r}. {cure}" in ran.complaint
    with pytest.raises(PolicyError) as refused:
        make_policy(name)
    assert ran.complaint == f"edge-audiokv: {refused.value}"


def test_an_option_that_is_none_is_told_the_close_one() -> None:
    with pytest.raises(PolicyError, match=r"Did you mean window\? Choose from"):
        make_policy("snapkv", windw=3)
