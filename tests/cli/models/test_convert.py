"""`models convert` without its extra, and without a word about it where it is not asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edge_audiokv.families import packages


def test_a_missing_extra_is_named(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "NEEDED", ("numpy", "no_such_torch"))
    done = call("models", "convert", tmp_path, "-o", tmp_path / "new")
    assert done.code == 11
    assert done.complaint == (
        "edge-audiokv: Converting a checkpoint needs no_such_torch."
        " pip install 'edge-audiokv[convert]'"
    )
    assert list(tmp_path.iterdir()) == []


def test_nothing_of_it_is_loaded_for_other_commands(command: Any) -> None:
    code = (
        "import sys, edge_audiokv.cli.models.cached\n"
        "heavy = {'torch', 'transformers', 'onnx', 'safetensors'} & sys.modules.keys()\n"
        "ours = [n for n in sys.modules if n.startswith('edge_audiokv.families.')]\n"
        "print(sorted(heavy), ours)"
    )
    done = command.python("-c", code)
    assert done.out == "[] ['edge_audiokv.families.packages']\n", done
