from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edge_audiokv.errors import InputError
from edge_audiokv.train import state
from edge_audiokv.train.export import export_lora, export_onnx, int8_rows, parity, update_entry
from edge_audiokv.train.frame_decoder import FrameDecoder
from edge_audiokv.train.llama import MATRICES, to_halves
from edge_audiokv.train.projector import AudioModel, Projector, Words
from edge_audiokv.train.whisper import WhisperEncoder

ENTRY = """name = "m"
[[file]]
role = "encoder"
name = "encoder.onnx"
size_bytes = 1
sha256 = "aa"
[[file]]
role = "llm"
name = "llm.gguf"
size_bytes = 2
sha256 = "bb"
"""


def test_only_the_named_file_of_an_entry_changes(tmp_path: Path) -> None:
    entry = tmp_path / "model.toml"
    entry.write_text(ENTRY)
    update_entry(entry, {"encoder.onnx": (77, "cc")})
    expected = ENTRY.replace("size_bytes = 1", "size_bytes = 77").replace('"aa"', '"cc"')
    assert entry.read_text() == expected


def test_an_adapter_is_read_back_with_its_rows_in_llama_order(tmp_path: Path) -> None:
    import gguf

    torch.manual_seed(0)
    lora = {}
    for name in MATRICES:
        out = {"q": 576, "k": 192}.get(name, 64)
        lora[f"layers.0.{name}.a"] = torch.randn(4, 64)
        lora[f"layers.0.{name}.b"] = torch.randn(out, 4)
    export_lora({"lora": lora, "lora_rank": 4}, tmp_path / "lora.gguf")
    reader = gguf.GGUFReader(str(tmp_path / "lora.gguf"))
    assert reader.fields["adapter.lora.alpha"].contents() == 8.0
    stored = {t.name: t for t in reader.tensors}
    assert len(stored) == 2 * len(MATRICES)
    rows = np.array(stored["blk.0.attn_q.weight.lora_b"].data, dtype=np.float32)
    np.testing.assert_allclose(to_halves(rows, 9), lora["layers.0.q.b"].numpy(), atol=2e-3)
    entry = stored["blk.0.ffn_up.weight.lora_a"]
    values = gguf.dequantize(entry.data, entry.tensor_type)
    np.testing.assert_allclose(values, lora["layers.0.up.a"].numpy(), atol=0.03)


def test_a_checkpoint_without_adapter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no LoRA"):
        export_lora({}, tmp_path / "lora.gguf")


def test_int8_rows_are_the_nearest_with_one_scale_a_row() -> None:
    matrix = np.random.default_rng(0).standard_normal((5, 70)).astype(np.float32)
    matrix[3] = 0.0
    rows, scale = int8_rows(matrix)
    assert rows.dtype == np.int8 and scale.shape == (5, 1)
    assert (np.abs(rows * scale - matrix) <= scale / 2 + 1e-7).all()


def test_the_graph_is_small_and_says_what_the_model_says(tmp_path: Path) -> None:
    import onnx

    torch.manual_seed(0)
    words = Words(60)
    words.read(torch.randn(60, 384), torch.randn(60, 576), 8.0)
    audio = AudioModel(WhisperEncoder(), FrameDecoder(), Projector(), words)
    state.save(tmp_path / "x.pt", {"audio": audio.state_dict(), "tokens": list(range(60))})
    export_onnx(state.load(tmp_path / "x.pt"), tmp_path / "encoder.onnx")
    assert parity(tmp_path / "x.pt", tmp_path / "encoder.onnx", seconds=2.4) < 1e-3
    model = onnx.load(str(tmp_path / "encoder.onnx"))
    graph, (vocabulary,) = model.graph, model.metadata_props
    assert [output.name for output in graph.output] == ["embeds", "words", "beliefs"]
    assert vocabulary.key == "words" and vocabulary.value.count("\n") == 59
    largest = {t.data_type for t in graph.initializer if np.prod(t.dims) >= 200_000}
    assert onnx.TensorProto.FLOAT not in largest
    assert (tmp_path / "encoder.onnx").stat().st_size < 1.15 * sum(
        p.numel() for p in audio.parameters()
    )
