"""Checkpoints by their name on a hub: what is fetched of them, what is kept, and every refusal."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_audiokv.errors import DownloadError, ModelError
from edge_audiokv.families.hub import repository
from edge_audiokv.families.hub.cached import cached
from edge_audiokv.families.hub.name import HubName, parse
from edge_audiokv.models import download, http

from . import hub_server
from .conformers import Phi4
from .hub_server import COMMIT, NAME, Hub
from .test_refusals import change, shard
from .windowed import Qwen2Audio

WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Qwen2Audio(tmp_path_factory.mktemp("hub") / "checkpoint").folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache, empty; its client was told all this when it was imported."""
    from huggingface_hub import constants

    for name in ("HF_HUB_OFFLINE", "EDGE_AUDIOKV_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    return tmp_path / "hf"


@pytest.fixture
def hub(checkpoint: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    more = {"evil.py": b"raise SystemExit", "pytorch_model.bin": b"pickle", "LICENSE": b"MIT"}
    more["consolidated.safetensors"] = b"the same once more"
    more["README.md"] = b"---\nlicense: mit\n---\n"
    with hub_server.serve(checkpoint, **more) as served:
        monkeypatch.setenv("HF_ENDPOINT", served.address)
        yield served


@pytest.fixture
def dry(call: Any, tmp_path: Path) -> Callable[..., Any]:
    """The command, before it fetches anything large."""

    def run(name: str = NAME, *args: object) -> Any:
        return call("models", "convert", name, "-o", tmp_path / "new", "--dry-run", *args)

    return run


def fetch(name: str = NAME, progress: Any = lambda what, done, total: None) -> Path:
    found = repository.look(parse(name) or HubName(name))
    folder = repository.fetch_small(found)
    repository.fetch_weights(found, folder, progress)
    return folder


def test_names_of_the_hub() -> None:
    assert parse("Qwen/Qwen3-ASR-0.6B-hf") == HubName("Qwen/Qwen3-ASR-0.6B-hf", "main")
    assert str(parse("a/b@refs/pr/1")) == "a/b@refs/pr/1"
    for text in ("b", "./a/b", "/a/b", "a/b/c", "a/../b", "a/b@", "a/b@../x", "-a/b", "a/b\n", ""):
        assert parse(text) is None, text


def test_no_more_is_fetched_than_is_needed_and_that_once(hub: Hub, checkpoint: Path) -> None:
    told: list[tuple[str, int, int]] = []
    folder = fetch(progress=lambda *step: told.append(step))
    kept = {"LICENSE", "README.md", *(file.name for file in checkpoint.iterdir())}
    assert {file.name for file in folder.iterdir()} == kept
    assert {name for name, _ in hub.asked} == kept
    assert (folder / WEIGHTS).read_bytes() == (checkpoint / WEIGHTS).read_bytes()
    assert folder.name == COMMIT
    done = [step[1] for step in told]
    assert done == sorted(done) and done[-1] == told[-1][2] == len(hub.files[WEIGHTS])
    hub.asked.clear()
    assert fetch() == fetch(f"{NAME}@v1") == fetch(f"{NAME}@{COMMIT}") == folder
    assert hub.asked == []


def test_shards_are_those_of_the_index(
    checkpoint: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "sharded"))
    shard(folder)
    (folder / "model-9.safetensors").write_bytes(b"of no index")
    with hub_server.serve(folder) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        names = {file.name for file in fetch().iterdir()}
        assert {"model-1.safetensors", "model-2.safetensors"} <= names
        assert "model-9.safetensors" not in names


# What is run to be killed: without torch it takes a second.
_FETCH = """
import sys
from edge_audiokv.families.hub import repository
from edge_audiokv.families.hub.name import parse
found = repository.look(parse(sys.argv[1]))
repository.fetch_weights(found, repository.fetch_small(found), lambda *step: None)
"""


@pytest.mark.parametrize("place", ["", "speech-lora/"])
def test_an_adapter_is_fetched_with_its_weights(
    checkpoint: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    weights = f"{place}adapter_model.safetensors"
    files = {f"{place}adapter_config.json": b'{"r": 4}', weights: b"12345678"}
    with hub_server.serve(checkpoint, **files) as served:
        monkeypatch.setenv("HF_ENDPOINT", served.address)
        folder = fetch()
        assert all((folder / name).read_bytes() == data for name, data in files.items())
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        assert cached(HubName(NAME)) == (folder, COMMIT)
        (folder / weights).unlink()
        with pytest.raises(DownloadError, match="Only a part of"):
            cached(HubName(NAME))
    del files[weights]
    with hub_server.serve(checkpoint, **files) as served:
        monkeypatch.setenv("HF_ENDPOINT", served.address)
        shutil.rmtree(cache)
        with pytest.raises(ModelError, match=rf"lacks {place}adapter_model\.safetensors"):
            fetch()


def test_a_phi4_and_its_adapter_are_told_before_they_are_fetched(
    cache: Path, tmp_path: Path, dry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Phi4(tmp_path / "checkpoint").folder
    inner = {f"speech-lora/{path.name}": path.read_bytes() for path in folder.glob("speech-lora/*")}
    flat = Path(
        shutil.copytree(folder, tmp_path / "flat", ignore=shutil.ignore_patterns("speech-lora"))
    )
    with hub_server.serve(flat, **inner) as served:
        monkeypatch.setenv("HF_ENDPOINT", served.address)
        told = dry(NAME, "--json")
    assert told.code == 0, told.err
    weights = (folder / "model.safetensors").stat().st_size
    adapter = len(inner["speech-lora/adapter_model.safetensors"])
    assert json.loads(told.out)["fetch_bytes"] == weights + adapter
    assert json.loads(told.out)["family"] == "Phi-4-multimodal"


def test_a_fetch_goes_on_where_it_was_killed(hub: Hub, cache: Path) -> None:
    hub.stall_after = 1 << 20
    environment = {**os.environ, "HF_HUB_CACHE": str(cache), "HF_ENDPOINT": hub.address}
    with subprocess.Popen([sys.executable, "-c", _FETCH, NAME], env=environment) as child:
        assert hub.stalled.wait(60)
        (part,) = _until(lambda: [*cache.glob("*/blobs/*.incomplete")])
        _until(lambda: part.stat().st_size > 0)
        child.kill()
    have = part.stat().st_size
    assert 0 < have <= 1 << 20
    hub.stall_after = None
    hub.asked.clear()

    def stop(what: str, done: int, total: int) -> None:
        if done > have:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(progress=stop)
    more = part.stat().st_size
    assert more >= have
    folder = fetch()
    assert [asked for name, asked in hub.asked if name == WEIGHTS] == [
        f"bytes={have}-",
        *([f"bytes={more}-"] if more < len(hub.files[WEIGHTS]) else []),
    ]
    assert (folder / WEIGHTS).read_bytes() == hub.files[WEIGHTS]
    assert not part.exists()


def _until(true: Callable[[], Any]) -> Any:
    import time

    end = time.monotonic() + 60
    while not (found := true()):
        assert time.monotonic() < end
        time.sleep(0.01)
    return found


def test_what_arrives_damaged_is_removed(hub: Hub, cache: Path) -> None:
    hub.flip = True
    with pytest.raises(DownloadError, match=r"arrived with sha256 .* it was removed"):
        fetch()
    assert not [*cache.glob("*/blobs/*.incomplete")]
    assert not [*cache.glob(f"*/snapshots/*/{WEIGHTS}")]


def test_sizes_are_told_before_anything_large_is_fetched(hub: Hub, dry: Any) -> None:
    done = dry(NAME, "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told["fetch_bytes"] == len(hub.files[WEIGHTS]) and told["family"] == "Qwen2-Audio"
    assert [asked for name, asked in hub.asked if name == WEIGHTS] == ["bytes=0-100000"]
    fetch()
    assert json.loads(dry(NAME, "--json").out) == {**told, "fetch_bytes": 0}


@pytest.mark.parametrize(
    ("name", "refusal", "why"),
    [
        ("nobody/nothing", None, "There is no folder nobody/nothing, and the hub shows no"),
        (f"{NAME}@v9", None, "has no revision v9. Give a branch"),
        (NAME, (403, "GatedRepo"), "only to who has accepted its terms. Accept them on its page"),
        (NAME, (401, ""), "does not let you read someone/tiny-qwen2-audio (401)"),
        (NAME, (503, ""), "The hub answered 503"),
    ],
)
def test_what_the_hub_refuses(hub: Hub, dry: Any, name: str, refusal: Any, why: str) -> None:
    hub.refusal = refusal
    done = dry(name)
    assert done.code == 5 and why in done.complaint


@pytest.mark.parametrize("kind", ["pickles", "code", "sliding", "no config", "adapter"])
def test_repositories_that_cannot_be_converted(
    checkpoint: Path,
    cache: Path,
    dry: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "checkpoint"))
    if kind == "pickles":
        (folder / WEIGHTS).rename(folder / "pytorch_model.bin")
    elif kind == "adapter":
        (folder / WEIGHTS).rename(folder / "adapter_model.safetensors")
    elif kind == "no config":
        (folder / "config.json").unlink()
    else:
        change(folder, model_type="own" if kind == "code" else "gemma3n", auto_map={"A": "m.M"})
    why = {
        "pickles": "holds weights as pickles alone, which could run code",
        "code": f"{NAME} is a model of its own code, which is never run",
        "sliding": f"{NAME} (gemma3n) cannot be converted: its language model attends through",
        "no config": "holds no config.json",
        "adapter": "has neither model.safetensors nor model.safetensors.index.json",
    }[kind]
    with hub_server.serve(folder) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        done = dry()
        assert done.code == 4 and why in done.complaint
        assert all(asked for name, asked in hub.asked if name == WEIGHTS)


def test_without_a_network_the_cache_does(
    hub: Hub, dry: Any, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_AUDIOKV_OFFLINE", "1")
    done = dry()
    assert done.code == 5 and f"{NAME} is no folder, and not in {cache}" in done.complaint
    monkeypatch.delenv("EDGE_AUDIOKV_OFFLINE")
    repository.fetch_small(repository.look(HubName(NAME)))
    monkeypatch.setenv("EDGE_AUDIOKV_OFFLINE", "1")
    done = dry()
    assert done.code == 5 and f"Only a part of {NAME} is in" in done.complaint
    fetch()
    hub.refusal = (404, "RepoNotFound")
    assert dry().code == 0 and dry(f"{NAME}@{COMMIT}").code == 0
    monkeypatch.delenv("EDGE_AUDIOKV_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    done = dry()
    assert done.code == 0 and f"What is in the cache is taken: {COMMIT[:12]}." in done.err
    done = dry("some/other")
    assert done.code == 5 and "some/other cannot be had from the hub" in done.complaint


def test_disks_without_room(
    hub: Hub, dry: Any, call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        free = 100 << 10

    monkeypatch.setattr(download.shutil, "disk_usage", lambda folder: Full)
    done = call("models", "convert", NAME, "-o", tmp_path / "new")
    assert done.code == 5 and "has 100.0 KiB free" in done.complaint and "HF_HOME" in done.err
    assert not [name for name, _ in hub.asked if name == WEIGHTS]


def test_a_disk_that_fills_up(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(http, "_continue", full)
    with pytest.raises(DownloadError, match="cache is full: No space left on device"):
        fetch()


def test_a_folder_of_that_name_comes_first(
    hub: Hub, dry: Any, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(checkpoint, tmp_path / NAME)
    monkeypatch.chdir(tmp_path)
    done = dry()
    assert done.code == 0 and hub.asked == []
    assert done.err == f"{NAME} is a folder here: it is taken, not the hub's.\n"
    assert dry(f"./{NAME}").err == ""
