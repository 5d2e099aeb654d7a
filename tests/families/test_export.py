"""Weights that are alike, tied, or used in several ways come out right in every type."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from edge_audiokv.families import export
from edge_audiokv.families.weights import weights_of

WIDTH = 80


class Odd(nn.Module):
    """Samples [1, S] -> rows [1, S / 80, 80]."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.tied = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.looked_up = nn.Linear(WIDTH, WIDTH, bias=False)
        for layer in (self.first, self.second):
            nn.init.zeros_(layer.bias)  # alike: the exporter makes one of them
        self.tied.weight = self.first.weight

    def forward(self, audio: Tensor) -> Tensor:
        x = audio.reshape(1, -1, WIDTH)
        x = torch.tanh(self.first(x)) + self.second(x)
        # A matrix that is also read as it lies.
        x = self.looked_up(x) + self.looked_up.weight[:1]
        made: Tensor = self.tied(x)
        return made


@pytest.mark.parametrize(("type_name", "most"), [("f32", 1e-5), ("fp16", 2e-2), ("int8", 1e-1)])
@pytest.mark.parametrize("outside_from_bytes", [1, 1 << 30])
def test_weights_come_out_right(
    tmp_path: Path, type_name: str, most: float, outside_from_bytes: int
) -> None:
    torch.manual_seed(1)
    tower = Odd().eval()
    before = {name: value.clone() for name, value in tower.state_dict().items()}
    path = tmp_path / "encoder.onnx"
    export.write_encoder(lambda: tower, path, type_name, outside_from_bytes=outside_from_bytes)
    audio = torch.randn(1, 7 * WIDTH)
    with torch.no_grad():
        wanted = tower(audio).numpy()
    (rows,) = onnxruntime.InferenceSession(str(path)).run(None, {"audio": audio.numpy()})
    assert np.abs(rows - wanted).max() < most * wanted.std()
    # What was exported is as it was, and in the file once.
    assert all(torch.equal(value, before[name]) for name, value in tower.state_dict().items())
    graph = onnx.load(str(path), load_external_data=False).graph
    matrices = [weight for weight in graph.initializer if list(weight.dims) == [WIDTH, WIDTH]]
    biases = [weight for weight in graph.initializer if weight.name.endswith(".bias")]
    assert len(matrices) == 3 and len(biases) == 2
    assert [value.name for value in graph.input] == ["audio"]
    kinds = {onnx.TensorProto.DataType.Name(weight.data_type) for weight in matrices}
    assert kinds == {"f32": {"FLOAT"}, "fp16": {"FLOAT16"}, "int8": {"INT8", "FLOAT"}}[type_name]


def test_a_weight_is_let_go_when_it_is_made(tmp_path: Path) -> None:
    model, tensors = export._trace(Odd().eval(), tmp_path / "raw.onnx")
    assert (tmp_path / "raw.onnx").stat().st_size < 4 * WIDTH * WIDTH  # no weights in it
    weights = weights_of(model.graph, tensors, "int8")
    left = [len(tensors) for weight in weights if weight.make() is not None]
    assert left == sorted(left, reverse=True) and left[-1] == 0
