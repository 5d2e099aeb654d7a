"""`eval quants` and `eval report`: refusals, and a whole run with real weights and real speech."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edge_audiokv.models.download import LocalModel

if TYPE_CHECKING:
    from ...conftest import Caller, Command

CLIPS = Path(__file__).resolve().parents[2] / "data" / "manifest.jsonl"
LATEST_S = 120


def test_all_that_is_wrong_is_told_at_once_and_nothing_is_written(
    call: Caller, tmp_path: Path
) -> None:
    ran = call(
        "eval", "quants", "--data", tmp_path / "none.jsonl", "--types", "Q9", "--kv-types", "f17",
        "--policies", "nope", "--budgets", "140%", "--fail-above", "mer=1", "-m", "nobody",
        "-o", tmp_path / "no" / "run.jsonl", "--quants-dir", tmp_path / "quants",
    )  # fmt: skip
    assert ran.code == 3 and "8 things are wrong" in ran.complaint
    for option in ("data", "types", "kv-types", "policies", "budgets", "fail-above", "model"):
        assert f"--{option}: " in ran.err
    assert "-o: " in ran.err and list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_run_is_refused(call: Caller, tmp_path: Path) -> None:
    (tmp_path / "run.jsonl").write_text('{"text": "mine"}\n')
    ran = call("eval", "report", tmp_path / "run.jsonl")
    assert ran.code == 3 and "line 1 is no row" in ran.complaint
    (tmp_path / "run.jsonl").write_text("")
    ran = call("eval", "report", tmp_path / "run.jsonl")
    assert ran.code == 3 and "no row of the base yet" in ran.complaint


@pytest.fixture
def model(local_model: LocalModel, tmp_path: Path) -> Path:
    """The default model's LLM and encoder alone: its merged weights are the base as they are."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "llm.gguf").symlink_to(local_model.llm_paths[0])
    (folder / "encoder.onnx").symlink_to(local_model.encoder_path)
    entry = local_model.entry
    (folder / "model.toml").write_text(
        f"""
name = "plain"
[audio]
sample_rate_hz = 16000
tokens_per_second = 12.5
max_audio_s = 30.0
word_weight = {entry.word_weight}
word_floor = {entry.word_floor}
[llm]
architecture = "llama"
d_model = {entry.d_model}
context_length_tokens = 8192
[prompt]
template = {json.dumps(entry.prompt.template)}
end_of_turn = {json.dumps(entry.prompt.end_of_turn)}
question = "Transcribe the audio."
[[file]]
role = "encoder"
name = "encoder.onnx"
[[file]]
role = "llm"
name = "llm.gguf"
"""
    )
    return folder


@pytest.mark.integration
@pytest.mark.slow
def test_a_run_is_gone_on_with_after_a_kill_and_another_says_the_same(
    command: Command, call: Caller, tmp_path: Path, model: Path
) -> None:
    run, again = tmp_path / "run.jsonl", tmp_path / "again.jsonl"
    args = (
        "eval", "quants", "--data", CLIPS, "--limit", 2, "-m", model, "--types", "Q4_0", "-t", 1,
        "--kv-types", "q8_0", "--budgets", "40%", "--quants-dir", tmp_path / "quants",
    )  # fmt: skip
    process = command.start(*args, "-o", run)
    latest_s = time.monotonic() + LATEST_S
    while not run.exists() or not run.read_bytes().endswith(b"\n"):
        assert process.poll() is None and time.monotonic() < latest_s
        time.sleep(0.1)
    process.kill()
    process.communicate()
    (base,) = (json.loads(line) for line in run.read_text().splitlines())
    assert base["kld_mean"] == base["kld_max"] == base["wer_rise"] == 0.0
    assert base["same_top"] == 1.0 and base["words"] > 20 and base["wer"] < 0.5
    with run.open("ab") as stream:
        stream.write(b'{"schema": 1, "ru')

    ran = command(*args, "-o", run, "--fail-above", "kld=0.000001")
    assert ran.code == 14 and "above --fail-above kld=" in ran.err, ran
    first, cut = (json.loads(line) for line in run.read_text().splitlines())
    assert first == base, "it was not measured again"
    assert 0 < cut["kld_mean"] < 1 and cut["kld_left_out"] < 0.01
    assert 0.2 < cut["kept_share"] <= 0.4 and cut["evicted_clips"] == 2
    assert cut["model_bytes"] < base["model_bytes"] and cut["kv_bytes"] < base["kv_bytes"] / 2
    assert cut["tensors"]["Q4_0"] > 200 and cut["model_sha256"] != base["model_sha256"]
    assert cut["timings"]["peak_rss_bytes"] > cut["model_bytes"]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert "| Q4_0 | q8_0 | audiokv-edge |" in ran.out

    assert command(*args, "-o", again).code == 0
    pairs = zip(run.read_text().splitlines(), again.read_text().splitlines(), strict=True)
    for one, other in pairs:
        mine, theirs = (json.loads(line) for line in (one, other))
        assert mine.pop("timings").keys() == theirs.pop("timings").keys()
        assert mine == theirs

    dry = call(*args, "-o", run, "--dry-run")
    assert dry.code == 0 and "2 cells, 0 to measure" in dry.out
    ran = call("eval", "report", run, "--plot", tmp_path / "run.svg")
    assert ran.code == 0 and (tmp_path / "run.svg").stat().st_size > 5000
    assert "K" in ran.out and ran.out.strip().endswith(".")
