"""`ensure`: every file present and verified, or one line that says what to do."""

from __future__ import annotations

import hashlib
import random
import shutil
import threading
import time
from collections import namedtuple
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edge_audiokv.errors import DownloadError, ModelError
from edge_audiokv.models import catalog, download
from edge_audiokv.models.entry import ModelEntry, read_entry

from .server import Faults, serve
from .test_gguf import write_gguf

TOML = """
name = "toy"
[audio]
sample_rate_hz = 16000
tokens_per_second = 12.5
max_audio_s = 30
[llm]
architecture = "{architecture}"
d_model = 36
context_length_tokens = 512
[prompt]
template = "{{audio}}{{question}}"
end_of_turn = "x"
question = "?"
[[file]]
role = "encoder"
name = "encoder.onnx"
{encoder}
[[file]]
role = "llm"
name = "tiny.gguf"
url = "{url}"
size_bytes = {size}
sha256 = "{sha256}"
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGE_AUDIOKV_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("EDGE_AUDIOKV_OFFLINE", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_gguf(tmp_path_factory.mktemp("weights") / "tiny.gguf").read_bytes()


@pytest.fixture
def served(weights: bytes) -> Iterator[tuple[str, Faults]]:
    with serve(weights) as pair:
        yield pair


def toy(
    tmp_path: Path,
    url: str,
    weights: bytes,
    *,
    architecture: str = "llama",
    sha256: str = "",
    encoder: str = "",
) -> ModelEntry:
    directory = tmp_path / "toy"
    directory.mkdir(exist_ok=True)
    (directory / "encoder.onnx").write_bytes(b"onnx")
    text = TOML.format(
        architecture=architecture,
        encoder=encoder,
        url=url,
        size=len(weights),
        sha256=sha256 or hashlib.sha256(weights).hexdigest(),
    )
    (directory / "model.toml").write_text(text, encoding="utf-8")
    return read_entry(directory / "model.toml")


def test_what_is_missing_is_fetched_once(
    served: tuple[str, Faults], weights: bytes, tmp_path: Path
) -> None:
    entry = toy(tmp_path, served[0], weights)
    seen: list[tuple[str, int, int]] = []
    assert not download.is_present(entry)
    local = download.ensure(entry, progress=lambda *step: seen.append(step))
    assert local.gguf_path.read_bytes() == weights
    assert local.encoder_path == tmp_path / "toy" / "encoder.onnx" and local.lora_path is None
    assert seen[0] == ("fetch tiny.gguf", 0, len(weights))
    assert seen[-1] == ("fetch tiny.gguf", len(weights), len(weights))
    assert len(local.model_hash) == 16
    assert download.is_present(entry)
    download.ensure(entry)
    assert len(served[1].requests) == 1


def test_a_verified_file_is_not_read_again_until_it_changes(
    served: tuple[str, Faults],
    weights: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entry = toy(tmp_path, served[0], weights)
    path = download.ensure(entry).gguf_path
    reads: list[Path] = []
    real = download.file_sha256
    monkeypatch.setattr(
        download, "file_sha256", lambda file, *rest: reads.append(file) or real(file, *rest)
    )
    download.ensure(entry)
    assert reads == []
    path.write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    with pytest.raises(ModelError, match="is damaged") as caught:
        download.ensure(entry)
    assert reads == [path] and "models pull toy" in str(caught.value)


def test_content_of_another_hash_is_thrown_away(
    served: tuple[str, Faults], weights: bytes, tmp_path: Path, own_cache: Path
) -> None:
    entry = toy(tmp_path, served[0], weights, sha256="a" * 64)
    with pytest.raises(DownloadError, match="was removed"):
        download.ensure(entry)
    assert not [path for path in own_cache.rglob("*") if path.is_file()]


def test_an_interrupted_fetch_goes_on(
    served: tuple[str, Faults], weights: bytes, tmp_path: Path
) -> None:
    url, faults = served
    entry = toy(tmp_path, url, weights)
    faults.cuts, faults.cut_after = 3, 100
    with pytest.raises(DownloadError):
        download.ensure(entry)
    assert not download.is_present(entry)
    assert download.ensure(entry).gguf_path.read_bytes() == weights
    assert faults.sent_bytes == len(weights)


def test_offline_asks_no_server_and_says_where_to_put_the_file(
    served: tuple[str, Faults],
    weights: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EDGE_AUDIOKV_OFFLINE", "1")
    entry = toy(tmp_path, served[0], weights)
    with pytest.raises(DownloadError, match="offline") as caught:
        download.ensure(entry)
    place = Path(str(caught.value).rsplit(" ", 1)[1])
    assert served[1].requests == []
    place.parent.mkdir(parents=True)
    place.write_bytes(weights)
    assert download.ensure(entry).gguf_path == place


def test_a_file_beside_the_entry_is_used_from_there(weights: bytes, tmp_path: Path) -> None:
    entry = toy(tmp_path, "http://127.0.0.1:9/none", weights)
    (tmp_path / "toy" / "tiny.gguf").write_bytes(weights)
    assert download.ensure(entry).gguf_path == tmp_path / "toy" / "tiny.gguf"


def test_a_full_disk_is_told_before_anything_is_fetched(
    served: tuple[str, Faults],
    weights: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 0, 10))
    with pytest.raises(DownloadError, match="10 B free"):
        download.ensure(toy(tmp_path, served[0], weights))
    assert served[1].requests == []


def test_a_cache_that_cannot_be_made_is_told(
    weights: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("EDGE_AUDIOKV_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(DownloadError, match="EDGE_AUDIOKV_CACHE"):
        download.ensure(toy(tmp_path, "http://127.0.0.1:9/none", weights))


def test_a_foreign_gguf_is_told_before_it_is_loaded(
    served: tuple[str, Faults], weights: bytes, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="needs qwen2 of width 36"):
        download.ensure(toy(tmp_path, served[0], weights, architecture="qwen2"))


def test_a_shipped_file_that_is_missing_or_damaged_is_told(
    served: tuple[str, Faults], weights: bytes, tmp_path: Path
) -> None:
    entry = toy(tmp_path, served[0], weights, encoder=f'sha256 = "{"b" * 64}"')
    with pytest.raises(ModelError, match=r"encoder\.onnx is damaged"):
        download.ensure(entry)
    entry = toy(tmp_path, served[0], weights, encoder="size_bytes = 5")
    with pytest.raises(ModelError, match="4 bytes, not 5"):
        download.ensure(entry)
    (tmp_path / "toy" / "encoder.onnx").unlink()
    with pytest.raises(ModelError, match="lacks its encoder file"):
        download.ensure(entry)


def test_remove_frees_what_was_fetched_and_nothing_else(
    served: tuple[str, Faults], weights: bytes, tmp_path: Path
) -> None:
    entry = toy(tmp_path, served[0], weights)
    local = download.ensure(entry)
    assert download.remove(entry, [entry]) == 0 and local.gguf_path.is_file()
    (local.gguf_path.parent / "fetch-stale").mkdir()
    assert download.remove(entry, []) == len(weights)
    assert not local.gguf_path.parent.exists() and local.encoder_path.is_file()
    assert download.remove(entry, []) == 0


@pytest.mark.parametrize("changed", ["encoder.onnx", "tiny.gguf", "lora.gguf", None])
def test_new_weights_of_any_part_give_a_new_hash(tmp_path: Path, changed: str | None) -> None:
    hashes = []
    for version in (1, 2):
        home = tmp_path / str(version)
        home.mkdir()
        for number, name in enumerate(("encoder.onnx", "tiny.gguf", "lora.gguf")):
            seed = version if name == changed else 1
            (home / name).write_bytes(random.Random(10 * number + seed).randbytes(5000))
        hashes.append(
            download.LocalModel(
                entry=catalog.resolve(),
                encoder_path=home / "encoder.onnx",
                gguf_path=home / "tiny.gguf",
                lora_path=home / "lora.gguf",
                profile_path=None,
            ).model_hash
        )
    assert (hashes[0] == hashes[1]) is (changed is None)
    assert all(len(name) == 16 for name in hashes)


def test_two_at_once_fetch_once_and_both_get_it(
    tmp_path: Path, weights: bytes, served: tuple[str, Faults], monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = toy(tmp_path, served[0], weights)
    fetched, inside = [], threading.Event()

    def slow(url: str, part: Path, size_bytes: int, progress: object = None) -> None:
        fetched.append(part)
        inside.set()
        time.sleep(0.2)  # the other one must be waiting by now
        part.write_bytes(weights)

    monkeypatch.setattr("edge_audiokv.models.http.fetch_url", slow)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(download.ensure, entry)
        inside.wait(10)
        second = pool.submit(download.ensure, entry)
        found = {first.result(30).gguf_path, second.result(30).gguf_path}
    assert len(found) == 1 and len(fetched) == 1
    path = found.pop()
    assert path.read_bytes() == weights
    assert list(path.parent.iterdir()) == [path]  # no lock is left behind
