"""The list of policies: whole sentences, the name once, nothing wider than the terminal."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from edge_audiokv.cli.policies import policies
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
