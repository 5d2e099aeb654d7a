"""What an encoder holds, measured where nothing else is."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_audiokv.encoder.resident import measured_bytes
from edge_audiokv.errors import ModelError
from edge_audiokv.models.token_rule import TokenRule

from .graphs import write_graph

DEFAULT = Path(__file__).resolve().parents[2] / "models" / "smollm2-audio" / "encoder.onnx"


@pytest.mark.integration
def test_a_longer_window_takes_more_and_the_weights_are_in_it() -> None:
    held = measured_bytes(DEFAULT, d_model=576, rule=TokenRule(), max_window_s=20)
    assert [seconds for seconds, _ in held] == [15.0, 20.0]
    small, large = (n_bytes for _, n_bytes in held)
    assert DEFAULT.stat().st_size < small < large < 400 << 20


def test_what_does_not_load_cannot_be_measured(tmp_path: Path) -> None:
    path = write_graph(tmp_path / "odd.onnx", token_samples=999)
    with pytest.raises(ModelError, match="could not be measured"):
        measured_bytes(path, d_model=8, rule=TokenRule(), max_window_s=1)
