"""Weights to compare: made once, of the best there is, and made anew when they are damaged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from edge_audiokv.errors import DownloadError, InputError
from edge_audiokv.eval.quants.files import Quants
from edge_audiokv.eval.quants.grid import BASE
from edge_audiokv.models.cache import cache_directory
from edge_audiokv.models.download import LocalModel
from edge_audiokv.models.emptying import cached_bytes, empty
from edge_audiokv.models.imatrix import Imatrix

from ...models.test_merge import write_lora
from ...native import tiny

pytestmark = pytest.mark.integration
RNG = np.random.default_rng(2)


def local(folder: Path, *, lora: bool = False) -> LocalModel:
    gguf_path = tiny.write(folder / "tiny.gguf", "llama")
    lora_path = None
    if lora:
        lora_path = folder / "lora.gguf"
        a, b = (RNG.normal(0, 0.3, shape).astype(np.float32) for shape in ((4, 64), (64, 4)))
        write_lora(lora_path, "blk.0.attn_q.weight", a, b, alpha=8.0)
    (folder / "encoder.onnx").write_bytes(b"an encoder")
    entry = cast(Any, SimpleNamespace(name="toy", merge=None))
    return LocalModel(entry, folder / "encoder.onnx", gguf_path, lora_path, None)


def make(quants: Quants, *names: str) -> tuple[dict[str, Any], list[str]]:
    seen: list[str] = []
    sizes = quants.sizes([*names])
    made = quants.make(sizes, 1, lambda text, done, total: seen.append(text))
    return made, list(dict.fromkeys(seen))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("EDGE_AUDIOKV_CACHE", str(tmp_path / "cache"))
    yield cache_directory()


def test_files_are_made_once_and_the_base_is_the_model_s_own(tmp_path: Path) -> None:
    quants = Quants.of(local(tmp_path), tmp_path / "quants")
    made, seen = make(quants, "base", "Q8_0")
    assert seen == ["make Q8_0"] and made["base"].path == tmp_path / "tiny.gguf"
    assert made["Q8_0"].tensors["Q8_0"] > 10 and made["Q8_0"].type == "Q8_0"
    assert made["Q8_0"].file_bytes < made["base"].file_bytes
    assert make(quants, "base", "Q8_0") == (made, [])
    assert "in Q8_0" not in quants.note


def test_an_adapter_is_merged_into_the_base_and_into_all_that_is_made_of_it(
    tmp_path: Path,
) -> None:
    quants = Quants.of(local(tmp_path, lora=True), tmp_path / "quants")
    made, seen = make(quants, "base", "Q8_0")
    assert seen == ["make base", "make Q8_0"]
    assert made["base"].tensors["F16"] == 1 and "adapter merged into F16" in quants.note
    (tmp_path / "plain").mkdir()
    plain, _ = make(Quants.of(local(tmp_path / "plain"), tmp_path / "quants"), "base", "Q8_0")
    assert plain["Q8_0"].sha256 != made["Q8_0"].sha256
    assert plain["Q8_0"].path.parent != made["Q8_0"].path.parent, "another model's lie elsewhere"


@pytest.mark.parametrize("keep", [0, -1])
def test_a_damaged_file_is_made_anew(tmp_path: Path, keep: int) -> None:
    quants = Quants.of(local(tmp_path), tmp_path / "quants")
    made, _ = make(quants, "base", "Q8_0")
    path = made["Q8_0"].path
    path.write_bytes(path.read_bytes()[:keep])
    assert quants.missing_bytes(quants.sizes(["base", "Q8_0"])) > 0
    again, seen = make(quants, "base", "Q8_0")
    assert seen == ["make Q8_0"] and again["Q8_0"].sha256 == made["Q8_0"].sha256


def test_types_that_cannot_be_made_are_told_together_and_nothing_is_written(
    tmp_path: Path, local_model: LocalModel
) -> None:
    quants = Quants.of(local_model, tmp_path / "quants")
    with pytest.raises(InputError, match=r"IQ1_S.*; IQ2_XXS") as caught:
        quants.sizes(["base", "IQ1_S", "Q8_0", "IQ2_XXS"])
    assert "Q8_0" not in str(caught.value) and "--types" in caught.value.cure
    assert not (tmp_path / "quants").exists()


def test_no_room_on_the_disk_is_told_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quants = Quants.of(local(tmp_path), tmp_path / "quants")
    nothing = SimpleNamespace(free=1000)
    monkeypatch.setattr("edge_audiokv.models.download.shutil.disk_usage", lambda _: nothing)
    with pytest.raises(DownloadError, match="--quants-dir"):
        make(quants, "base", "Q8_0")
    assert list(quants.folder.iterdir()) == []


def test_what_lies_in_the_cache_goes_with_it(tmp_path: Path, cache: Path) -> None:
    quants = Quants.of(local(tmp_path), None)
    made, _ = make(quants, "base", "Q8_0")
    assert made["Q8_0"].path.is_relative_to(cache / "quants")
    assert cached_bytes() >= made["Q8_0"].file_bytes
    empty()
    assert not (cache / "quants").exists() and made["base"].path.is_file()


def test_an_importance_matrix_has_files_of_its_own(tmp_path: Path) -> None:
    model = local(tmp_path)
    names = ("blk.0.attn_q.weight", "blk.1.ffn_down.weight")
    widths = (tiny.N_EMBD, tiny.N_FF)
    sums = {name: np.full((1, n), 3, np.float32) for name, n in zip(names, widths, strict=True)}
    counts = {name: np.ones(1, np.float32) for name in names}
    Imatrix(sums, counts).save(tmp_path / "i.gguf")
    plain = Quants.of(model, tmp_path / "q")
    careful = Quants.of(model, tmp_path / "q", tmp_path / "i.gguf")
    assert plain.folder != careful.folder
    found = [make(quants, BASE, "Q4_0")[0]["Q4_0"] for quants in (plain, careful)]
    assert [weights.imatrix for weights in found] == [False, True]
