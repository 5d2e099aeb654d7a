"""The byte model, recomputed from the file by the gguf package and from shapes by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader, GGUFWriter

from edge_audiokv.eval.bench.limit import (
    copy_bandwidth,
    share_of_limit,
    token_bytes,
    weight_bytes,
)
from edge_audiokv.kv.shape import KVShape
from edge_audiokv.models.gguf import read_header

V, D = 40, 16


@pytest.mark.parametrize("tied", [True, False])
def test_a_token_moves_every_weight_but_the_table_that_it_looks_up(
    tmp_path: Path, tied: bool
) -> None:
    path = tmp_path / "a.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(8)
    tensors: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (V, D),
        "blk.0.attn_q.weight": (D, D),
        "output_norm.weight": (D,),
    }
    if not tied:
        tensors["output.weight"] = (V, D)
    for name, shape in tensors.items():
        writer.add_tensor(name, np.ones(shape, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    read = {tensor.name: int(tensor.n_bytes) for tensor in GGUFReader(path).tensors}
    # The last tensor is told with what aligns the first one.
    aligned = 32
    assert all(size % aligned == 0 for size in read.values())
    matrices = read["blk.0.attn_q.weight"] + read["output_norm.weight"] + 4 * V * D
    header = read_header(path)
    assert matrices <= weight_bytes(header) < matrices + aligned
    assert {name: size // aligned for name, size in header.tensor_bytes.items()} == {
        name: size // aligned for name, size in read.items()
    }
    assert header.block_bytes == 4 * D * D


@pytest.mark.parametrize(
    ("type_k", "type_v", "bytes_"),
    [("f16", "f16", 256), ("q8_0", "q8_0", 136), ("q4_0", "q4_0", 72), ("q8_0", "q4_0", 104)],
)
def test_rows_count_as_ggml_lays_them_out(type_k: str, type_v: str, bytes_: int) -> None:
    # 64 numbers are two blocks of 32: 2 bytes a number, or 2 for the scale and 1 or 1/2 a number.
    shape = KVShape(30, 3, 3, 64, type_k, type_v)
    assert token_bytes(1000, 500 * 30 * 3, shape) == 1000 + 500 * 90 * bytes_


def test_the_share_of_the_limit_is_bytes_a_second_over_the_bandwidth() -> None:
    assert share_of_limit(20.0, 150_000_000, 6e9) == pytest.approx(0.5)


@pytest.mark.parametrize("n_threads", [1, 3])
def test_a_copy_counts_what_is_read_and_written_of_its_best_try(n_threads: int) -> None:
    # Tries of 4, 1 and 2 seconds, on a clock made by hand.
    clock = iter([0.0, 4.0, 10.0, 11.0, 20.0, 22.0])
    found = copy_bandwidth(n_threads, n_bytes=3 << 10, tries=3, now=lambda: next(clock))
    assert found == 2 * (3 << 10)
