"""Importance matrices: llama.cpp's format, and files that are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from edge_audiokv.errors import ModelError
from edge_audiokv.models.imatrix import Imatrix, read_imatrix


def f32(*values: float) -> Any:
    return np.array(values, np.float32)


def an_imatrix() -> Imatrix:
    sums = {"blk.0.attn_q.weight": f32(2, 8, 0)[None], "blk.0.ffn_up.weight": f32(6, 3)[None]}
    counts = {"blk.0.attn_q.weight": f32(4), "blk.0.ffn_up.weight": f32(3)}
    return Imatrix(sums, counts, ("speech.jsonl",), 5, 128)


def test_a_file_has_the_names_and_shapes_of_llama_cpp(tmp_path: Path) -> None:
    an_imatrix().save(tmp_path / "i.gguf")
    reader = gguf.GGUFReader(tmp_path / "i.gguf")
    shapes = {tensor.name: tensor.shape.tolist() for tensor in reader.tensors}
    assert shapes == {  # ggml's order: the row's length first
        "blk.0.attn_q.weight.in_sum2": [3, 1],
        "blk.0.attn_q.weight.counts": [1, 1],
        "blk.0.ffn_up.weight.in_sum2": [2, 1],
        "blk.0.ffn_up.weight.counts": [1, 1],
    }
    keys = {name: field.contents() for name, field in reader.fields.items()}
    assert keys["general.type"] == "imatrix" and keys["imatrix.datasets"] == ["speech.jsonl"]
    assert (keys["imatrix.chunk_count"], keys["imatrix.chunk_size"]) == (5, 128)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    an_imatrix().save(tmp_path / "i.gguf")
    found = read_imatrix(tmp_path / "i.gguf")
    assert (found.datasets, found.n_chunks, found.chunk_tokens) == (("speech.jsonl",), 5, 128)
    assert found.means()["blk.0.attn_q.weight"].tolist() == [0.5, 2, 0]
    assert found.means()["blk.0.ffn_up.weight"].tolist() == [2, 1]


def test_experts_have_means_of_their_own_and_those_never_asked_count_alike(tmp_path: Path) -> None:
    sums = {"blk.0.ffn_up_exps.weight": np.array([[2, 4], [0, 0]], np.float32)}
    Imatrix(sums, {"blk.0.ffn_up_exps.weight": f32(2, 0)}).save(tmp_path / "i.gguf")
    means = read_imatrix(tmp_path / "i.gguf").means()
    assert means["blk.0.ffn_up_exps.weight"].tolist() == [1, 2, 1, 1]


def written(path: Path, kind: str, tensors: dict[str, Any]) -> Path:
    writer = gguf.GGUFWriter(path, "imatrix")
    writer.add_type(kind)
    for name, data in tensors.items():
        writer.add_tensor(name, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize(
    ("tensors", "why"),
    [
        ({"a.in_sum2": f32(1, 2)}, "lacks counts"),
        ({"a.in_sum2": f32(1, 2), "a.counts": np.ones((1, 1), np.float16)}, "not of F32"),
        ({"a.in_sum2": f32(1, 2, 3), "a.counts": f32(1, 1)}, "3 sums for 2 counts"),
        ({"a.in_sum2": f32(1, np.nan), "a.counts": f32(1)}, "no sum of squares"),
        ({"a.in_sum2": f32(1, -1), "a.counts": f32(1)}, "no sum of squares"),
        ({"b": f32(1)}, "names no matrix"),
    ],
)
def test_damage_is_told(tmp_path: Path, tensors: dict[str, Any], why: str) -> None:
    with pytest.raises(ModelError, match=why):
        read_imatrix(written(tmp_path / "i.gguf", "imatrix", tensors))


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no importance matrix"):
        read_imatrix(written(tmp_path / "m.gguf", "model", {"a": f32(1)}))
    (tmp_path / "old.dat").write_bytes(b"\x01\0\0\0\x05\0\0\0blk.0")
    with pytest.raises(ModelError, match="GGUF"):
        read_imatrix(tmp_path / "old.dat")
    an_imatrix().save(tmp_path / "i.gguf")
    data = (tmp_path / "i.gguf").read_bytes()
    (tmp_path / "i.gguf").write_bytes(data[: len(data) - 60])
    with pytest.raises(ModelError):
        read_imatrix(tmp_path / "i.gguf")
