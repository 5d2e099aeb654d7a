"""No content of a GGUF ends our process: a child tries it first, and says in a line what it met."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from edge_audiokv.errors import ModelError
from edge_audiokv.models import tried
from edge_audiokv.native import probe

from . import vocabularies

pytestmark = pytest.mark.integration

# Each ended a process.
CASES = {
    "a vocabulary without texts": ("llama-none", lambda writer: None, 256),
    "experts used, and none there": (
        "llama-bpe",
        lambda writer: writer.add_expert_used_count(2),
        256,
    ),
    "experts there, and none used": ("llama-bpe", lambda writer: writer.add_expert_count(4), 256),
    "more experts used than there are": (
        "llama-bpe",
        lambda writer: (writer.add_expert_count(2), writer.add_expert_used_count(4)),
        256,
    ),
    "a vocabulary that lacks bytes": ("llama-spm", lambda writer: None, 65),
    "no bytes at all": ("llama-spm", lambda writer: None, 0),
    "a rotation of another size than the heads": (
        "qwen2-bpe",
        lambda writer: writer.add_rope_dimension_count(8),
        256,
    ),
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGE_AUDIOKV_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("case", list(CASES))
def test_what_ended_a_process_is_refused_in_a_line(tmp_path: Path, case: str) -> None:
    kind, also, n_bytes = CASES[case]
    path = tmp_path / "model.gguf"
    if kind == "llama-none":
        vocabularies.write(path, kind)
    else:
        vocabularies.write(path, kind, also, n_bytes=n_bytes)
    with pytest.raises(ModelError) as caught:
        probe.check_in_child(path)
    assert "\n" not in str(caught.value) and str(path.name) in str(caught.value)
    with pytest.raises(ModelError):  # a refusal is not remembered as a pass
        probe.check_in_child(path)


@pytest.mark.parametrize("kind", ["llama-bpe", "llama-spm", "qwen2-bpe", "qwen3-bpe"])
def test_a_sound_file_passes_and_pays_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path, kind: str
) -> None:
    path = vocabularies.write(tmp_path / "model.gguf", kind)
    probe.check_in_child(path)
    assert len(json.loads((own_cache / "probed.json").read_text())) == 1
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("tried again"))
    probe.check_in_child(path)


def test_an_adapter_is_tried_with_its_model(tmp_path: Path) -> None:
    model = vocabularies.write(tmp_path / "model.gguf", "llama-bpe")
    lora = vocabularies.write(tmp_path / "lora.gguf", "adapter")
    probe.check_in_child(model, lora)
    other = vocabularies.write(tmp_path / "other.gguf", "qwen3-bpe")
    with pytest.raises(ModelError):
        probe.check_in_child(other, lora)


def test_a_file_that_never_loads_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = vocabularies.write(tmp_path / "model.gguf", "llama-bpe")
    monkeypatch.setattr(tried, "TIMEOUT_S", 0.01)
    with pytest.raises(ModelError, match="not loaded within"):
        probe.check_in_child(path)


@pytest.mark.parametrize("remembered", ["", "{}", "[3, null]", "[" * 2000, "\x00"])
def test_a_damaged_memory_only_costs_a_try(
    tmp_path: Path, own_cache: Path, remembered: str
) -> None:
    own_cache.mkdir()
    (own_cache / "probed.json").write_text(remembered)
    probe.check_in_child(vocabularies.write(tmp_path / "model.gguf", "llama-bpe"))
