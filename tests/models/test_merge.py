"""A merged GGUF is the base plus the adapter, and nothing half-written is ever found."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import gguf
import numpy as np
import pytest

from edge_audiokv.errors import ModelError
from edge_audiokv.models import download
from edge_audiokv.models.entry import ModelEntry, read_entry
from edge_audiokv.models.gguf import read_header
from edge_audiokv.models.merge import merge
from edge_audiokv.models.merged import is_sound

RNG = np.random.default_rng(5)


def write_base(path: Path, weight: np.ndarray) -> None:
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name("tiny")
    writer.add_embedding_length(64)
    writer.add_array("tokenizer.ggml.tokens", ["a", "b"])
    writer.add_tensor("blk.0.attn_q.weight", weight)
    writer.add_tensor("output_norm.weight", np.ones(64, np.float32))
    close(writer)


def write_lora(path: Path, name: str, a: np.ndarray, b: np.ndarray, alpha: float) -> None:
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", alpha)
    writer.add_tensor(f"{name}.lora_a", a)
    writer.add_tensor(f"{name}.lora_b", b)
    close(writer)


def close(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_weights_are_base_plus_adapter_within_the_error_of_q8_0(tmp_path: Path) -> None:
    weight = RNG.normal(size=(96, 64)).astype(np.float32)
    a, b = (RNG.normal(size=shape).astype(np.float32) for shape in ((4, 64), (96, 4)))
    write_base(tmp_path / "base.gguf", weight)
    write_lora(tmp_path / "lora.gguf", "blk.0.attn_q.weight", a, b, alpha=8.0)
    seen: list[tuple[int, int]] = []
    out = tmp_path / "deep" / "merged.gguf"
    merge(tmp_path / "base.gguf", tmp_path / "lora.gguf", out, lambda *n: seen.append(n))
    reader = gguf.GGUFReader(str(out))
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    merged = gguf.dequantize(
        tensors["blk.0.attn_q.weight"].data, tensors["blk.0.attn_q.weight"].tensor_type
    ).reshape(96, 64)
    expected = weight + 2.0 * (b @ a)
    step = np.abs(expected).reshape(96, 2, 32).max(axis=2, keepdims=True) / 127
    # Half a step of rounding, and 127 quanta times the scale's own rounding to f16 (2 ** -11).
    bound = (0.5 + 127 * 2.0**-11 + 1e-3) * step
    assert (np.abs(merged - expected).reshape(96, 2, 32) <= bound).all()
    np.testing.assert_array_equal(tensors["output_norm.weight"].data, np.ones(64, np.float32))
    assert reader.fields["general.name"].contents() == "tiny"
    assert reader.fields["tokenizer.ggml.tokens"].contents() == ["a", "b"]
    total_bytes = sum(int(tensor.n_bytes) for tensor in reader.tensors)
    assert len(seen) == 2 and {total for _, total in seen} == {total_bytes}
    assert 0 < seen[0][0] < seen[1][0] == total_bytes
    assert [path.name for path in out.parent.iterdir()] == ["merged.gguf"]


def test_what_is_to_be_quantised_is_merged_into_f16(tmp_path: Path) -> None:
    weight = RNG.normal(size=(96, 64)).astype(np.float32)
    a, b = (RNG.normal(size=shape).astype(np.float32) for shape in ((4, 64), (96, 4)))
    write_base(tmp_path / "base.gguf", weight)
    write_lora(tmp_path / "lora.gguf", "blk.0.attn_q.weight", a, b, alpha=8.0)
    out = tmp_path / "merged.gguf"
    merge(tmp_path / "base.gguf", tmp_path / "lora.gguf", out, lambda *_: None, kind="f16")
    (merged,) = (t for t in gguf.GGUFReader(str(out)).tensors if t.name.startswith("blk"))
    assert merged.tensor_type == gguf.GGMLQuantizationType.F16
    np.testing.assert_allclose(merged.data, weight + 2.0 * (b @ a), rtol=2.0**-10)


def test_an_adapter_of_another_model_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    write_base(tmp_path / "base.gguf", RNG.normal(size=(96, 64)).astype(np.float32))
    a, b = np.ones((4, 64), np.float32), np.ones((96, 4), np.float32)
    write_lora(tmp_path / "lora.gguf", "blk.7.attn_q.weight", a, b, alpha=8.0)
    out = tmp_path / "out" / "merged.gguf"
    with pytest.raises(ModelError, match="cannot be merged"):
        merge(tmp_path / "base.gguf", tmp_path / "lora.gguf", out, lambda *_: None)
    assert list(out.parent.iterdir()) == []


TOML = """
name = "toy"
[audio]
sample_rate_hz = 16000
tokens_per_second = 12.5
max_audio_s = 30
[llm]
architecture = "llama"
d_model = 64
context_length_tokens = 512
merge = "q8_0"
[prompt]
template = "{audio}{question}"
end_of_turn = "x"
question = "?"
[[file]]
role = "encoder"
name = "encoder.onnx"
[[file]]
role = "llm"
name = "base.gguf"
[[file]]
role = "lora"
name = "lora.gguf"
"""


def test_a_retrained_adapter_of_the_same_shape_is_merged_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_AUDIOKV_CACHE", str(tmp_path / "cache"))
    home = tmp_path / "toy"
    home.mkdir()
    (home / "model.toml").write_text(TOML, encoding="utf-8")
    (home / "encoder.onnx").write_bytes(b"onnx")
    write_base(home / "base.gguf", np.zeros((96, 64), np.float32))
    headers, merged, held = set(), [], []
    for scale in (1.0, 3.0):
        a, b = np.full((4, 64), scale, np.float32), np.ones((96, 4), np.float32)
        write_lora(home / "lora.gguf", "blk.0.attn_q.weight", a, b, alpha=4.0)
        headers.add(read_header(home / "lora.gguf").model_hash)
        path = download.ensure(read_entry(home / "model.toml")).merged_path
        assert path is not None
        tensor = gguf.GGUFReader(str(path)).tensors[0]
        merged.append(float(gguf.dequantize(tensor.data, tensor.tensor_type).mean()))
        held.append(sorted(file.parent.name for file in (tmp_path / "cache").rglob("*.gguf")))
    assert len(headers) == 1  # the headers alone would have given the first file again
    np.testing.assert_allclose(merged, [4.0, 12.0], rtol=1e-3)
    assert [len(names) for names in held] == [1, 1] and held[0] != held[1]


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelEntry:
    monkeypatch.setenv("EDGE_AUDIOKV_CACHE", str(tmp_path / "cache"))
    home = tmp_path / "toy"
    home.mkdir()
    (home / "model.toml").write_text(TOML, encoding="utf-8")
    (home / "encoder.onnx").write_bytes(b"onnx")
    write_base(home / "base.gguf", np.ones((96, 64), np.float32))
    a, b = np.ones((4, 64), np.float32), np.ones((96, 4), np.float32)
    write_lora(home / "lora.gguf", "blk.0.attn_q.weight", a, b, alpha=4.0)
    return read_entry(home / "model.toml")


def test_nothing_is_made_of_what_a_check_refuses(toy: ModelEntry) -> None:
    def refuse(base: Path, lora: Path | None) -> None:
        assert (base.name, lora and lora.name) == ("base.gguf", "lora.gguf")
        raise ModelError("it ends a process.")

    with pytest.raises(ModelError, match="ends a process"):
        download.ensure(toy, check=refuse)
    cache = Path(os.environ["EDGE_AUDIOKV_CACHE"])
    assert not list(cache.rglob("*.gguf*"))
    merged_of(toy)
    download.ensure(toy, check=refuse)  # what is made and sound was looked at


def merged_of(entry: ModelEntry, *, whole: bool = False) -> Path:
    path = download.ensure(entry, whole=whole).merged_path
    assert path is not None
    return path


@pytest.mark.parametrize("damage", ["zeroed", "truncated", "longer", "unsealed"])
def test_a_damaged_merged_file_is_made_anew(toy: ModelEntry, damage: str) -> None:
    path = merged_of(toy)
    good = path.read_bytes()
    if damage == "zeroed":
        path.write_bytes(good[:2000] + bytes(3000) + good[5000:])
    elif damage == "truncated":
        path.write_bytes(good[: len(good) // 2])
    elif damage == "longer":
        path.write_bytes(good + b"more")
    else:
        (path.parent / f"{path.name}.json").unlink()
        path.write_bytes(good[:2000] + bytes(3000) + good[5000:])
    assert merged_of(toy).read_bytes() == good


def test_damage_between_the_samples_is_found_when_all_is_read(
    toy: ModelEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_audiokv.models.merged.fingerprint", lambda path: "the same")
    path = merged_of(toy)
    good, status = path.read_bytes(), path.stat()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert merged_of(toy).read_bytes() != good
    assert merged_of(toy, whole=True).read_bytes() == good


def test_a_copy_with_another_time_is_read_once_and_kept(toy: ModelEntry) -> None:
    path = merged_of(toy)
    os.utime(path, ns=(1, 1))
    inode = path.stat().st_ino
    assert merged_of(toy).stat().st_ino == inode
    assert is_sound(path)


def test_removing_a_model_removes_what_was_merged_for_it(toy: ModelEntry) -> None:
    path = merged_of(toy)
    size_bytes = path.stat().st_size
    assert download.remove(toy, []) == size_bytes
    assert not path.parent.exists()
    assert download.remove(toy, []) == 0


def test_what_another_model_uses_stays(toy: ModelEntry, tmp_path: Path) -> None:
    twin_home = tmp_path / "twin"
    shutil.copytree(toy.directory, twin_home)
    twin = read_entry(twin_home / "model.toml")
    path = merged_of(toy)
    assert merged_of(twin) == path
    assert download.remove(toy, [twin]) == 0 and path.is_file()
    assert download.remove(twin, []) > 0 and not path.exists()
