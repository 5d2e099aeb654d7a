"""`models check`: a converted model beside its entry and its checkpoint, and what is wrong told."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_audiokv.families import packages
from edge_audiokv.families.parity import reference

from .conftest import Case

pytestmark = pytest.mark.integration
STRUCTURE = ["encoder", "llm", "LLM and entry", "encoder and entry", "token rule", "prompt"]
PARITY = ["prompt's tokens", "encoder and its tower", "encoder's rows", "LLM's logits"]
PARITY += ["tokens of a clip"]


def verdicts(done: Any) -> dict[str, str]:
    told = json.loads(done.out)
    assert told["ok"] is (done.code == 0)
    return {check["name"]: check["verdict"] for check in told["checks"]}


@pytest.fixture
def folder(made: Case, tmp_path: Path) -> Path:
    """A copy of a model that is whole; its entry does not say where it came from."""
    return Path(shutil.copytree(made.folder, tmp_path / "model"))


def edit(folder: Path, old: str, new: str) -> None:
    entry = folder / "model.toml"
    assert old in entry.read_text()
    entry.write_text(entry.read_text().replace(old, new))


def test_every_family_is_what_its_checkpoint_says(case: Case, call: Any) -> None:
    parts = [word for role, path in case.tiny.parts().items() for word in (f"--{role}", path)]
    against = ("--against", case.tiny.folder, *parts)
    done = call("models", "check", case.folder, *against, "-t", "1", "-f", "json")
    assert done.code == 0, done
    found = verdicts(done)
    # An Ultravox has code of its own, which is not run: its tower was written from that.
    own = [name for name in PARITY if case.tiny.name != "ultravox" or name != "encoder's rows"]
    assert list(found) == [*STRUCTURE, *own] and set(found.values()) == {"ok"}


@pytest.mark.parametrize(
    ("tensor", "wrong"),
    [
        ("audio_tower.conv1.weight", {"encoder and its tower", "encoder's rows"}),
        ("model.layers.1.mlp.up_proj.weight", {"LLM's logits"}),
    ],
)
def test_another_checkpoint_is_told(
    made: Case, folder: Path, call: Any, tmp_path: Path, tensor: str, wrong: set[str]
) -> None:
    from safetensors.torch import load_file, save_file

    other = Path(shutil.copytree(made.tiny.folder, tmp_path / "other"))
    weights = load_file(str(other / "model.safetensors"))
    (name,) = [name for name in weights if name.endswith(tensor)]
    weights[name] *= 1.1
    save_file(weights, str(other / "model.safetensors"), metadata={"format": "pt"})
    done = call("models", "check", folder, "--against", other, "-t", "1", "-f", "json")
    assert done.code == 13
    assert " checks of model failed: " in done.err
    failed = {name for name, verdict in verdicts(done).items() if verdict == "FAILED"}
    # What follows a clip may be the same by luck.
    assert wrong <= failed <= wrong | {"tokens of a clip"}
    assert not (made.tiny.folder.parent / "ran").exists()


def cut(folder: Path) -> None:
    path = folder / "encoder.onnx"
    path.write_bytes(path.read_bytes()[:-1])


def flipped(folder: Path) -> None:
    path = folder / "llm.F32.gguf"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("spoil", "failed", "why"),
    [
        (cut, "encoder", "bytes, not"),
        (flipped, "llm", "is damaged: sha256"),
        (lambda folder: (folder / "llm.F32.gguf").unlink(), "llm", "is not there"),
        (
            lambda folder: edit(folder, 'architecture = "qwen2"', 'architecture = "llama"'),
            "LLM and entry",
            "The architecture of llm.F32.gguf is qwen2, and the entry says llama",
        ),
        (
            lambda folder: edit(folder, "d_model = 128", "d_model = 64"),
            "LLM and entry",
            "The width of llm.F32.gguf is 128, and the entry says 64",
        ),
        (
            lambda folder: edit(folder, "tokens_per_second = 25.0", "tokens_per_second = 12.5"),
            "token rule",
            "tokens for",
        ),
        (
            lambda folder: edit(folder, "<|audio_bos|>", "<|sound_bos|>"),
            "prompt",
            "<|sound_bos|> of the prompt is no token of the LLM",
        ),
        (
            lambda folder: edit(folder, "max_tokens = ", "max_tokens = 9 # "),
            "prompt",
            "more than 9",
        ),
        (
            lambda folder: edit(
                folder, "context_length_tokens = 8192", "context_length_tokens = 99"
            ),
            "prompt",
            "A window takes 750 rows",
        ),
    ],
)
def test_what_does_not_fit_together_is_told(
    folder: Path, call: Any, spoil: Callable[[Path], None], failed: str, why: str
) -> None:
    spoil(folder)
    done = call("models", "check", folder, "-t", "1")
    assert done.code == 13 and failed in done.err.splitlines()[-1]
    (line,) = [line for line in done.out.splitlines() if line.startswith(f"FAILED    {failed}  ")]
    assert why in line
    # Of files that are not whole nothing more is tried.
    assert (failed in ("encoder", "llm")) == ("token rule" not in done.out)


def test_what_cannot_be_looked_at_is_left_out(
    made: Case, folder: Path, call: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = call("models", "check", folder, "-t", "1", "-f", "json")
    assert done.code == 0
    assert verdicts(done) == {**dict.fromkeys(STRUCTURE, "ok"), "parity": "left out"}
    assert "give it as --against" in done.out
    monkeypatch.setattr(packages, "NEEDED", ("torch", "no_such_package"))
    done = call("models", "check", folder, "-t", "1")
    assert done.code == 0 and "left out  parity" in done.out and "[convert]" in done.out
    monkeypatch.undo()
    monkeypatch.setattr(reference, "_SPARE_BYTES", 1 << 60)
    done = call("models", "check", folder, "--against", made.tiny.folder, "-t", "1")
    assert done.code == 0 and "left out  transformers" in done.out and " are free." in done.out
    done = call("models", "check", folder.parent)
    assert done.code == 4 and "has no model.toml" in done.complaint


def test_it_came_from_the_hub_and_lies_in_its_cache(
    made: Case, folder: Path, call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    commit = "a" * 40
    snapshot = tmp_path / "hf" / "models--some--one" / "snapshots" / commit
    entry = folder / "model.toml"
    entry.write_text(f'{entry.read_text()}\n[source]\ncheckpoint = "some/one@{commit}"\n')
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    done = call("models", "check", folder, "-t", "1", "-f", "json")
    assert verdicts(done)["parity"] == "left out"
    shutil.copytree(made.tiny.folder, snapshot)
    done = call("models", "check", folder, "-t", "1", "-f", "json")
    assert done.code == 0 and list(verdicts(done)) == [*STRUCTURE, *PARITY]
