"""Processes of ours take no module from the folder that a person happens to stand in."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import edge_audiokv
from edge_audiokv.encoder import probe as encoder_probe
from edge_audiokv.models.merge import merge
from edge_audiokv.models.token_rule import TokenRule
from edge_audiokv.native import probe as native_probe
from edge_audiokv.native.quantize import quantize

from .encoder.graphs import write_graph
from .native import vocabularies

PACKAGE = Path(edge_audiokv.__file__).parent


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """We stand where modules of all the names lie that a child imports."""
    folder = tmp_path / "trap"
    (folder / "edge_audiokv").mkdir(parents=True)
    names = ["numpy", "gguf", "json", "onnx", "onnxruntime", "edge_audiokv/__init__"]
    for name in names:
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.chdir(folder)
    # Set for all tests, and by hardly anybody else.
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    monkeypatch.setenv("EDGE_AUDIOKV_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.mark.integration
def test_nothing_from_where_we_stand_is_run(trap: Path, tmp_path: Path) -> None:
    base = vocabularies.write(tmp_path / "base.gguf", "llama-bpe")
    lora = vocabularies.write(tmp_path / "lora.gguf", "adapter")
    encoder = write_graph(tmp_path / "encoder.onnx")
    native_probe.check_in_child(base, lora)
    encoder_probe.check_in_child(encoder, d_model=8, rule=TokenRule())
    merge(base, lora, tmp_path / "merged.gguf", lambda done, total: None)
    quantize(base, tmp_path / "small.gguf", "Q8_0")
    assert (tmp_path / "merged.gguf").exists() and (tmp_path / "small.gguf").exists()
    assert not (tmp_path / "ran").exists()


def test_every_child_is_started_apart_from_where_we_stand() -> None:
    starts = [
        (path.relative_to(PACKAGE), match[1])
        for path in PACKAGE.rglob("*.py")
        for match in re.finditer(r"\[sys\.executable,\s*([^,\]]+)", path.read_text("utf-8"))
    ]
    assert len(starts) >= 4
    assert {flag for _, flag in starts} == {'"-P"'}, starts
