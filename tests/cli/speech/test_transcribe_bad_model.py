"""Models that are damaged, foreign or put together wrongly: one line, exit code 4, no text."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.native import vocabularies

pytestmark = pytest.mark.integration

ModelDir = Callable[..., Path]


@pytest.fixture
def model_dir(local_model, tmp_path) -> ModelDir:
    """A directory with the default model, some files replaced: `model_dir(llm=PATH)`."""
    entry = local_model.entry
    head = (entry.directory / "model.toml").read_text(encoding="utf-8").split("[[file]]")[0]

    def make(*, toml: str = "", **replaced: Path) -> Path:
        files = {
            "encoder": local_model.encoder_path,
            "llm": local_model.gguf_path,
            "lora": local_model.lora_path,
            **replaced,
        }
        tables = [
            f'[[file]]\nrole = "{role}"\nname = "{role}.bin"\nlicence = "test"\n' for role in files
        ]
        folder = tmp_path / "my model"
        folder.mkdir()
        for role, path in files.items():
            (folder / f"{role}.bin").symlink_to(path)
        (folder / "model.toml").write_text(toml or head + "\n".join(tables), encoding="utf-8")
        return folder

    return make


def with_bytes(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def graph(path: Path, *, width: int) -> Path:
    """An encoder of the right kind that gives embeddings of `width`: all zero."""
    zeros = helper.make_tensor("zeros", TensorProto.FLOAT, [1, 1, width], np.zeros(width))
    nodes = [
        helper.make_node("Constant", [], ["one"], value=zeros),
        helper.make_node("Identity", ["one"], ["embeddings"]),
    ]
    audio = helper.make_tensor_value_info("audio", TensorProto.FLOAT, [1, "samples"])
    out = helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, [1, 1, width])
    made = helper.make_model(
        helper.make_graph(nodes, "encoder", [audio], [out]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.save(made, str(path))
    return path


def test_a_directory_is_as_good_as_a_name(call, model_dir, spoken) -> None:
    ran = call("transcribe", spoken["garden"].path, "--model", model_dir())
    assert (ran.code, ran.err) == (0, "")
    assert "garden" in ran.out


def bad_llm(kind: str, good: Path, path: Path) -> Path:
    if kind == "random":
        return with_bytes(path, np.random.default_rng(0).bytes(100_000))
    if kind == "random after the magic":
        return with_bytes(path, b"GGUF\3\0\0\0" + np.random.default_rng(0).bytes(100_000))
    if kind == "empty":
        return with_bytes(path, b"")
    data = good.read_bytes()
    return with_bytes(path, data[: 1000 if kind == "cut header" else len(data) // 2])


@pytest.mark.parametrize(
    "kind", ["random", "random after the magic", "empty", "cut header", "cut weights"]
)
@pytest.mark.parametrize("role", ["llm", "lora"])
def test_a_damaged_gguf(call, model_dir, local_model, spoken, tmp_path, role, kind) -> None:
    good = local_model.gguf_path if role == "llm" else local_model.lora_path
    folder = model_dir(**{role: bad_llm(kind, good, tmp_path / "bad.gguf")})
    ran = call("transcribe", spoken["garden"].path, "--model", folder)
    assert ran.code == 4
    assert f"{role}.bin" in ran.complaint


# Each ended a process; the last is known to no reader of ours, and a child dies of it.
ENDING = {
    "no vocabulary": ("llama-none", {}, "no vocabulary"),
    "experts used, none there": ("llama-bpe", {"add_expert_used_count": 2}, "experts"),
    "experts there, none used": ("llama-bpe", {"add_expert_count": 4}, "experts"),
    "groups of no experts": ("llama-bpe", {"add_expert_group_count": 2}, "gives up on it"),
}


@pytest.mark.parametrize("kind", list(ENDING))
def test_a_gguf_that_ends_a_process(call, model_dir, spoken, tmp_path, kind) -> None:
    vocabulary, keys, why = ENDING[kind]

    def also(writer: gguf.GGUFWriter) -> None:
        for add, value in keys.items():
            getattr(writer, add)(value)

    bad = vocabularies.write(tmp_path / "bad.gguf", vocabulary, also)
    folder = model_dir(llm=bad)
    toml = folder / "model.toml"
    text = re.sub(r"\b576\b", "64", toml.read_text(encoding="utf-8"))
    toml.write_text(re.sub(r"(?m)^merge = .*$", "", text), encoding="utf-8")
    # `lora.bin` is the default model's: the language model is refused before it is read.
    ran = call("transcribe", spoken["garden"].path, "--model", folder)
    assert ran.code == 4
    assert "llm.bin" in ran.complaint and why in ran.complaint


def test_an_adapter_is_no_llm_and_an_llm_no_adapter(call, model_dir, local_model, spoken) -> None:
    folder = model_dir(llm=local_model.lora_path, lora=local_model.gguf_path)
    ran = call("transcribe", spoken["garden"].path, "--model", folder)
    assert ran.code == 4
    assert "llm.bin" in ran.complaint


@pytest.mark.parametrize("kind", ["random", "empty", "cut", "width 512", "one token for all"])
def test_a_damaged_or_foreign_encoder(call, model_dir, local_model, spoken, tmp_path, kind) -> None:
    path = tmp_path / "bad.onnx"
    if kind == "random":
        with_bytes(path, np.random.default_rng(0).bytes(100_000))
    elif kind == "empty":
        with_bytes(path, b"")
    elif kind == "cut":
        data = local_model.encoder_path.read_bytes()
        with_bytes(path, data[: len(data) // 2])
    else:
        graph(path, width=512 if kind == "width 512" else 576)
    ran = call("transcribe", spoken["garden"].path, "--model", model_dir(encoder=path))
    assert ran.code == 4
    assert "encoder" in ran.complaint
    if kind == "width 512":
        assert "512" in ran.complaint and "576" in ran.complaint


TOML_BREAKS = {
    "not TOML": (r"\[audio\]", "[audio"),
    "no name": (r"(?m)^name = .*smollm2.*$", ""),
    "no prompt": (r"(?m)^template = .*$", ""),
    "two audios": (r"\{audio\}", "{audio}{audio}"),
    "rate in words": ("16000", '"fast"'),
    "negative rate": ("12.5", "-12.5"),
    "nan rate": ("12.5", "nan"),
    "no files": (r"(?s)\[\[file\]\].*", ""),
    "unknown role": ('role = "lora"', 'role = "lorry"'),
    "escaping name": ('"llm.bin"', '"../../../../../../nothing.gguf"'),
}


@pytest.mark.parametrize("kind", list(TOML_BREAKS))
def test_a_broken_model_toml(call, model_dir, spoken, kind) -> None:
    folder = model_dir()
    path = folder / "model.toml"
    good = path.read_text(encoding="utf-8")
    assert tomllib.loads(good)
    path.write_text(re.sub(TOML_BREAKS[kind][0], TOML_BREAKS[kind][1], good, count=1))
    ran = call("transcribe", spoken["garden"].path, "--model", folder)
    assert ran.code == 4
    assert str(folder) in ran.complaint


def test_a_prompt_longer_than_the_cache(call, model_dir, spoken) -> None:
    folder = model_dir()
    path = folder / "model.toml"
    good = path.read_text(encoding="utf-8")
    path.write_text(good.replace("{audio}", "one two three " * 30 + "{audio}"), encoding="utf-8")
    ran = call("transcribe", spoken["garden"].path, "--model", folder)
    assert ran.code == 4
    assert "The prompt takes" in ran.complaint and "Shorten `template`" in ran.complaint


def test_a_binary_model_toml(call, model_dir, spoken) -> None:
    folder = model_dir()
    (folder / "model.toml").write_bytes(bytes(range(256)))
    ran = call("transcribe", spoken["garden"].path, "--model", folder)
    assert ran.code == 4
    assert "model.toml" in ran.complaint


def test_model_names_and_paths_that_are_none(call, spoken, tmp_path) -> None:
    clip = spoken["garden"].path
    for name in ("smollm2-audoi", "", tmp_path, clip, tmp_path / "nothing"):
        ran = call("transcribe", clip, "--model", name)
        assert ran.code == 4, ran
        assert "model" in ran.complaint
    assert "Did you mean smollm2-audio?" in call("transcribe", clip, "-m", "smollm2-audoi").err


def test_no_network_and_no_cache_says_where_to_put_the_file(call, spoken, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGE_AUDIOKV_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("EDGE_AUDIOKV_OFFLINE", "1")
    ran = call("transcribe", spoken["garden"].path)
    assert ran.code == 5
    assert "offline" in ran.complaint and str(tmp_path / "cache") in ran.complaint


def test_a_cache_that_cannot_be_made(call, spoken, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("EDGE_AUDIOKV_CACHE", str(with_bytes(tmp_path / "file", b"x") / "cache"))
    ran = call("transcribe", spoken["garden"].path)
    assert ran.code == 5
    assert "EDGE_AUDIOKV_CACHE" in ran.complaint
