"""Rows of an LLM's table of tokens, read from its file."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

from edge_audiokv.errors import ModelError
from edge_audiokv.models.token_rows import read_token_rows

TYPES = ["F32", "F16", "BF16", "Q8_0"]


def write(path: Path, table: np.ndarray, kind: str, *, alignment: int | None = None) -> Path:
    """A GGUF with a table of tokens behind another tensor."""
    writer = gguf.GGUFWriter(path, "llama")
    if alignment:
        writer.add_custom_alignment(alignment)
    writer.add_block_count(1)
    writer.add_tensor("blk.0.attn_norm.weight", np.ones(64, np.float32))
    qtype = gguf.GGMLQuantizationType[kind]
    made = gguf.quants.quantize(table, qtype)
    writer.add_tensor("token_embd.weight", made, raw_dtype=qtype)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("alignment", [None, 256])
def test_rows_are_those_that_were_written(tmp_path: Path, kind: str, alignment: int | None) -> None:
    table = np.random.default_rng(1).standard_normal((40, 64)).astype(np.float32)
    path = write(tmp_path / "a.gguf", table, kind, alignment=alignment)
    rows = read_token_rows(path, [7, 0, 39, 7])
    assert rows.dtype == np.float32 and rows.shape == (4, 64)
    close = {"F32": 0, "F16": 2e-3, "BF16": 2e-2, "Q8_0": 2e-2}[kind]
    np.testing.assert_allclose(rows, table[[7, 0, 39, 7]], atol=close)


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    table = np.ones((40, 64), np.float32)
    path = write(tmp_path / "a.gguf", table, "F32")
    with pytest.raises(ModelError, match="has no rows for all of its tokens"):
        read_token_rows(path, [40])
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ModelError, match=r"cannot be read|cut short"):
        read_token_rows(cut, [39])
