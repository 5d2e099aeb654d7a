"""The whole chain, in a process of its own as a person would run it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from pathlib import Path
from edge_audiokv.train.smoke import as_json, smoke
Path(sys.argv[2]).write_text(as_json(smoke(Path(sys.argv[1]))))
"""


@pytest.mark.slow
@pytest.mark.integration
def test_the_chain_runs_learns_resumes_and_exports(tmp_path: Path) -> None:
    import json

    result = tmp_path / "result.json"
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), str(result)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    outcome = json.loads(result.read_text())
    assert outcome["ctc_loss_last"] < 0.7 * outcome["ctc_loss_first"]
    assert outcome["resumed_from_step"] == 20 and outcome["last_step"] == 40
    assert 0.0 < outcome["llm_loss_last"] < 20.0
    assert outcome["onnx_difference"] < 0.02
    assert set(outcome["files"]) == {"encoder.onnx", "lora.gguf", "ctc.png", "llm.png"}
    assert all(outcome["files"].values())
