"""`models convert`: what it makes, says and leaves, and that other commands take it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from edge_audiokv.families import checks, export
from edge_audiokv.models.entry import read_entry
from edge_audiokv.native.context import HeadwiseContext
from edge_audiokv.native.model import Model

from . import tiny
from .conftest import Case

pytestmark = pytest.mark.integration


def interrupt(*_: object) -> None:
    """Somebody presses Ctrl-C."""
    raise KeyboardInterrupt


def test_the_command_makes_what_its_dry_run_said(
    made: Case, call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (made.tiny.folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A model\n")
    args = ("models", "convert", made.tiny.folder, "--encoder-type", "int8", "-t", "1", "--json")
    target = tmp_path / "small"
    dry = call(*args, "-o", target, "--dry-run")
    assert dry.code == 0 and not list(tmp_path.iterdir())
    expected = json.loads(dry.out)
    assert expected["llm_type"] == "Q4_K_M" and expected["family"] == "Qwen2-Audio"
    # 3 layers of 4 KV heads of 32, keys and values, 2 bytes, 25 rows a second
    assert expected["kv_bytes_per_second"] == 3 * 4 * 32 * 2 * 2 * 25
    with monkeypatch.context() as patch:
        patch.setattr(checks, "check_llm", interrupt)
        broken = call(*args, "-o", target)
    assert broken.code == 130 and broken.out == "" and not target.exists()
    assert "quantise to Q4_K_M" in broken.err.splitlines()
    (left,) = tmp_path.iterdir()
    kept = f"What is done is kept: the same command goes on from there. Else remove {left}"
    assert kept in broken.err.splitlines()
    done = call(*args, "-o", target)
    assert done.code == 0, done.err
    assert "quantise to Q4_K_M" not in done.err.splitlines()
    told = json.loads(done.out)
    assert [file["role"] for file in told["files"]] == ["encoder", "llm"]
    assert sorted(path.name for path in target.iterdir()) == [
        "encoder.onnx",
        "llm.Q4_K_M.gguf",
        "model.toml",
    ]
    entry = read_entry(target / "model.toml")
    # Measured, so that --mem is not refused by a guess; a longer window takes no less.
    assert [seconds for seconds, _ in entry.encoder_bytes] == [15.0, 30.0]
    assert 0 < entry.encoder_bytes[0][1] <= entry.encoder_bytes[1][1] < 200 << 20
    assert set(entry.licences.values()) == {"apache-2.0 (as its card states)"}
    assert 0 < told["difference"] < 0.5
    again = call(*args, "-o", target)
    assert again.code == 10 and "is there already" in again.complaint
    check_q4(made, target / "llm.Q4_K_M.gguf")
    # The entry says where it came from; what is quantised is told, and is no other checkpoint.
    assert entry.source is not None
    assert (target / entry.source.checkpoint).resolve() == made.tiny.folder
    checked = call("models", "check", target, "-t", "1", "-f", "json")
    assert checked.code == 0, checked
    told = {check["name"]: check for check in json.loads(checked.out)["checks"]}
    assert told["tokens of a clip"]["verdict"] == told["encoder and its tower"]["verdict"] == "told"
    assert told["encoder's rows"]["value"] > 0.9 and told["LLM's logits"]["value"] > 0.7


def check_q4(made: Case, path: Path) -> None:
    """Small weights say nearly what those in 32 bits say."""
    logits = []
    for file in (made.llm, path):
        with Model(file) as model, HeadwiseContext(model, 64, n_threads=1) as context:
            logits.append(context.decode_tokens([5, 6, 7, 8]))
    assert path.stat().st_size < made.llm.stat().st_size / 2
    assert np.corrcoef(*logits)[0, 1] > 0.7


def numbers(module: torch.nn.Module, *kinds: type[torch.nn.Module]) -> int:
    """In the matrices of such modules."""
    weights = [part.weight for part in module.modules() if isinstance(part, kinds)]
    return sum(weight.numel() for weight in weights if weight.numel() >= 4096)


@pytest.mark.parametrize(
    ("type_name", "least", "saved_bytes", "kinds"),
    [
        ("fp16", 0.9999, 2, (torch.nn.Linear, torch.nn.Conv1d, torch.nn.Embedding)),
        ("int8", 0.99, 3, (torch.nn.Linear,)),
    ],
)
def test_smaller_encoders_give_nearly_the_same_rows(
    made: Case, tmp_path: Path, type_name: str, least: float, saved_bytes: int, kinds: Any
) -> None:
    audio = tiny.sound(2.0, seed=2)
    path = tmp_path / "encoder.onnx"
    assert export.write_encoder(lambda: made.tower, path, type_name) == (path,)
    assert sorted(tmp_path.iterdir()) == [path]
    session = onnxruntime.InferenceSession(str(path))
    (rows,) = session.run(None, {session.get_inputs()[0].name: audio[None]})
    with torch.no_grad():
        wanted = made.tower(torch.from_numpy(audio)[None]).numpy()
    assert np.corrcoef(rows.ravel(), wanted.ravel())[0, 1] > least
    saved = (made.folder / "encoder.onnx").stat().st_size - path.stat().st_size
    assert saved > 0.8 * saved_bytes * numbers(made.tower, *kinds)


@pytest.mark.parametrize("type_name", export.TYPES)
def test_large_weights_lie_beside_the_graph(made: Case, tmp_path: Path, type_name: str) -> None:
    files = export.write_encoder(
        lambda: made.tower, tmp_path / "encoder.onnx", type_name, outside_from_bytes=1000
    )
    assert [path.name for path in files] == ["encoder.onnx", "encoder.onnx.data"]
    assert sorted(tmp_path.iterdir()) == sorted(files)
    size = {"f32": 4, "fp16": 2, "int8": 1}[type_name]
    assert files[1].stat().st_size > size * numbers(made.tower, torch.nn.Linear)
    session = onnxruntime.InferenceSession(str(files[0]))
    audio = tiny.sound(1.0)
    (rows,) = session.run(None, {session.get_inputs()[0].name: audio[None]})
    assert rows.shape == (1, 25, 128)


def test_an_llm_that_the_cache_cannot_serve_leaves_nothing(
    made: Case, call: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    for file in made.tiny.folder.iterdir():
        (folder / file.name).symlink_to(file)
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = r"\p{N}+|[^\p{N}]+"
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    done = call("models", "convert", folder, "-o", tmp_path / "new", "--type", "F32")
    assert done.code == 4 and "llama.cpp does not know its tokenizer" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
