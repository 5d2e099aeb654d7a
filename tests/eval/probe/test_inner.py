"""Tensors from inside a graph, and the command on toy encoders and on the default one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import soundfile
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import convert_model_to_external_data

from edge_audiokv.cli.evaluate.group import evaluate
from edge_audiokv.errors import InputError, ModelError
from edge_audiokv.eval.probe.inner import OUTPUT, Graph, InnerEncoder
from edge_audiokv.models.token_rule import TokenRule

DATA = Path(__file__).resolve().parents[2] / "data"


def write_encoder(path: Path, *, outside: bool = False) -> Path:
    """audio [1, S] -> frames [1, S / 1280, 1280] -> their first two samples -> embeds [1, T, 4]."""
    spread = np.array([[1, 0, 2, 0], [0, 1, 0, 3]], np.float32)
    grid = numpy_helper.from_array(np.array([1, -1, 1280], np.int64), "grid")
    ends = {"from": 0, "to": 2, "axis": 2}
    numbers = [numpy_helper.from_array(np.array([v], np.int64), k) for k, v in ends.items()]
    nodes = [
        helper.make_node("Reshape", ["audio", "grid"], ["frames"]),
        helper.make_node("Slice", ["frames", "from", "to", "axis"], ["inner"]),
        helper.make_node("MatMul", ["inner", "spread"], ["embeds"]),
        helper.make_node("Shape", ["frames"], ["sizes"]),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("audio", TensorProto.FLOAT, [1, "s"])],
        [helper.make_tensor_value_info("embeds", TensorProto.FLOAT, [1, "t", 4])],
        [grid, *numbers, numpy_helper.from_array(spread, "spread")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    if outside:
        convert_model_to_external_data(model, location="weights.bin", size_threshold=60)
    onnx.save(model, path)
    return path


def an_encoder(path: Path, *tensors: str) -> InnerEncoder:
    rule = TokenRule()
    return InnerEncoder(path, d_model=4, rule=rule, tensors=tensors, max_window_s=0.16)


@pytest.mark.parametrize("outside", [False, True])
def test_rows_of_the_output_and_of_inner_tensors_are_averaged(
    tmp_path: Path, outside: bool
) -> None:
    path = write_encoder(tmp_path / "e.onnx", outside=outside)
    before = path.read_bytes()
    # Five tokens, so that windows of two and of one are joined.
    audio = np.random.default_rng(0).normal(0, 0.1, 5 * 1280).astype(np.float32)
    with an_encoder(path, "inner") as encoder:
        pooled = encoder.pooled(audio)
        assert np.allclose(encoder.encode(audio).mean(0), pooled[OUTPUT])
    first_two = audio.reshape(5, 1280)[:, :2]
    assert np.allclose(pooled["inner"], first_two.mean(0))
    spread = np.array([[1, 0, 2, 0], [0, 1, 0, 3]])
    assert np.allclose(pooled[OUTPUT], first_two.mean(0) @ spread, atol=1e-6)
    assert path.read_bytes() == before


def test_what_is_no_row_of_the_graph_is_told(tmp_path: Path) -> None:
    path = write_encoder(tmp_path / "e.onnx")
    with pytest.raises(InputError, match=r"no tensor 'iner'. Near to it: inner"):
        an_encoder(path, "iner").load()
    audio = np.zeros(1280, np.float32)
    with pytest.raises(InputError, match="no rows"), an_encoder(path, "sizes") as encoder:
        encoder.pooled(audio)
    with pytest.raises(InputError, match="no sound"), an_encoder(path) as encoder:
        encoder.pooled(audio[:0])
    (tmp_path / "bad.onnx").write_bytes(b"\xff" * 40)
    with pytest.raises(ModelError, match="not a usable ONNX"):
        Graph(tmp_path / "bad.onnx")


def sounds(folder: Path) -> Path:
    """Thirty clips of two labels, which the first sample of every token tells."""
    lines: list[dict[str, Any]] = []
    for index in range(30):
        frames = np.random.default_rng(index).normal(0, 0.01, (4, 1280))
        frames[:, 0] += 0.5 if index % 2 else -0.5
        soundfile.write(folder / f"{index}.wav", frames.reshape(-1), 16000, subtype="FLOAT")
        lines.append({"path": f"{index}.wav", "label": "high" if index % 2 else "low"})
    (folder / "clips.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / "clips.jsonl"


def test_the_command_probes_an_onnx_file(tmp_path: Path) -> None:
    encoder, clips = write_encoder(tmp_path / "e.onnx"), sounds(tmp_path)
    command = ["probe", "--data", str(clips), "--data", f"{clips}:label", "--encoder", str(encoder)]
    ran = CliRunner().invoke(evaluate, [*command, "--tensor", "inner", "--json"])
    assert ran.exit_code == 0, ran.output
    found = json.loads(ran.stdout)
    assert [(s["features"], s["knn"], s["mlp"]) for s in found["scores"]] == [
        ("output", 1.0, 1.0),
        ("inner", 1.0, 1.0),
    ] * 2
    assert [mean["features"] for mean in found["averages"]] == ["output", "inner"]
    told = CliRunner().invoke(evaluate, command)
    assert told.exit_code == 0 and "weighted average" in told.output


@pytest.mark.integration
def test_the_default_encoder_tells_a_tone_from_speech(tmp_path: Path) -> None:
    """Through its own entry: seconds of speech and of tones, fifteen each."""
    speech = np.concatenate([soundfile.read(path)[0] for path in sorted(DATA.glob("*.flac"))])
    lines = []
    for index in range(15):
        second = np.arange(16000)
        cuts = {
            "speech": speech[index * 16000 :][:16000],
            "tone": 0.2 * np.sin(0.04 * (index + 2) * second),
        }
        for label, cut in cuts.items():
            soundfile.write(tmp_path / f"{label}{index}.wav", cut, 16000)
            lines.append({"path": f"{label}{index}.wav", "label": label})
    (tmp_path / "clips.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    command = ["probe", "--data", str(tmp_path / "clips.jsonl"), "--json", "-t", "1"]
    inner = "/encoder/norm/LayerNormalization_output_0"
    ran = CliRunner().invoke(evaluate, [*command, "--tensor", inner])
    assert ran.exit_code == 0, ran.output
    scores = json.loads(ran.stdout)["scores"]
    assert [(s["features"], s["width"]) for s in scores] == [("output", 576), (inner, 384)]
    assert all(min(s["knn"], s["mlp"]) > 0.9 for s in scores)
