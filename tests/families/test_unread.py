"""Weights that stay in their file until they are needed, and tables that are written in parts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from edge_audiokv.families import llm
from edge_audiokv.families.sdist import extract_converter
from edge_audiokv.families.unread import give, layer_by_layer, unread, value

from .conftest import Case

WIDTH, LAYERS = 64, 3


class Stack(nn.Module):
    """A stem and a list of layers; counts how much of its layers has values at once."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(WIDTH, WIDTH)
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for layer in self.layers:
            x = layer(x)
        return x


def made(reads: list[str]) -> Stack:
    """Weights of equal shapes, each of which says in `reads` when it is read."""
    stack = Stack()

    def read(name: str) -> torch.Tensor:
        reads.append(name)
        shape = stack.state_dict()[name].shape
        return torch.randn(shape, generator=torch.Generator().manual_seed(len(name)))

    weights = stack.state_dict(keep_vars=True)
    give([(weights[name], lambda name=name: read(name)) for name in weights])
    return stack


def test_layers_have_values_while_they_are_called() -> None:
    x, reads = torch.randn(2, WIDTH), []
    expected = made([])(x)
    with unread():
        stack = made(reads)
    assert reads == []
    layer_by_layer(stack)
    assert reads == ["stem.weight", "stem.bias"]
    seen = []
    for number, layer in enumerate(stack.layers):
        layer.register_forward_hook(lambda *_, n=number: seen.append((n, len(reads))))
    with torch.no_grad():
        assert torch.equal(stack(x), expected) and torch.equal(stack(x), expected)
    # Two of a layer's are read when it is called, and anew when it is called again.
    assert seen == [(n % LAYERS, 4 + 2 * n) for n in range(2 * LAYERS)]
    weight = stack.layers[0].weight
    assert not torch.equal(weight, value(weight))


def test_no_two_weights_look_alike_before_they_are_read() -> None:
    with unread():
        weights = [*made([]).parameters(), *made([]).parameters()]
    assert len({float(weight.detach().reshape(-1)[0]) for weight in weights}) == len(weights)
    # Outside nothing is put off.
    assert not hasattr(made([]).stem.weight, "_edge_audiokv_read")
    assert float(nn.Linear(8, 8).weight.detach().std()) > 0


@pytest.mark.integration
def test_a_table_in_parts_is_the_same_table(made: Case, tmp_path: Path) -> None:
    """Byte by byte, with rows that do not make up whole parts."""
    converter = extract_converter(tmp_path / "converter")
    written = {}
    for name, large in (("whole", 1 << 40), ("parts", 1 << 12)):
        target = tmp_path / f"{name}.gguf"
        job = llm.make_job(made.plan.language, target, "MOSTLY_Q8_0", converter)
        (tmp_path / "job.json").write_text(json.dumps(job))
        # In a process of its own, as always: the converter has another gguf than the tests.
        code = (
            "import sys; from edge_audiokv.families import split;"
            f" split._LARGE, split._PART_NUMBERS = {large}, 1000;"
            f" sys.exit(split._main([{str(tmp_path / 'job.json')!r}]))"
        )
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        written[name] = target.read_bytes()
    assert written["parts"] == written["whole"]
