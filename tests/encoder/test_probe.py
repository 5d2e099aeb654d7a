"""No content of an ONNX encoder ends our process, and none reads a file outside its folder."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_audiokv.encoder import probe
from edge_audiokv.encoder.onnx import OnnxEncoder
from edge_audiokv.encoder.outside import check_outside_data, outside_places
from edge_audiokv.errors import ModelError
from edge_audiokv.models import tried
from edge_audiokv.models.token_rule import TokenRule

from .graphs import write_graph, write_layers, write_words

SHAPE: dict[str, Any] = {"d_model": 8, "rule": TokenRule()}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGE_AUDIOKV_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def write_fatal(path: Path) -> Path:
    """The least whole number over -1: the processor has no result for that, and raises a signal."""
    model = onnx.load(write_graph(path))
    graph = model.graph
    embeds = graph.node[-1].output[0]
    graph.node[-1].output[0] = "plain"
    for name, value in (("zero", 0), ("least", -(2**63)), ("minus", -1)):
        graph.initializer.append(numpy_helper.from_array(np.array([value], np.int64), name))
    graph.node.extend(
        [
            helper.make_node("Shape", ["plain"], ["shape"]),
            helper.make_node("Mul", ["shape", "zero"], ["nothing"]),
            helper.make_node("Add", ["nothing", "least"], ["least_of_all"]),
            helper.make_node("Div", ["least_of_all", "minus"], ["divided"]),
            helper.make_node("Cast", ["divided"], ["cast"], to=TensorProto.FLOAT),
            helper.make_node("ReduceSum", ["cast"], ["sum"], keepdims=0),
            helper.make_node("Mul", ["plain", "sum"], [embeds]),
        ]
    )
    onnx.save(model, path)
    return path


def write_outside(path: Path, place: str) -> Path:
    """The toy graph with its weights in another file."""
    model = onnx.load(write_graph(path))
    tensor = next(each for each in model.graph.initializer if each.name == "spread")
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", place), ("offset", "0"), ("length", "32")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    path.write_bytes(model.SerializeToString())
    return path


def test_what_ends_a_process_is_refused_in_a_line(tmp_path: Path) -> None:
    path = write_fatal(tmp_path / "fatal.onnx")
    for _ in range(2):  # a refusal is not remembered as a pass
        with pytest.raises(ModelError, match=r"cannot be used: onnxruntime ends with") as caught:
            probe.check_in_child(path, **SHAPE)
        assert str(caught.value).isprintable()


def test_what_the_child_refuses_is_told_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="embeddings of width 8; the LLM needs 9"):
        probe.check_in_child(write_graph(tmp_path / "a.onnx"), **{**SHAPE, "d_model": 9})


@pytest.mark.parametrize("write", [write_words, write_layers], ids=lambda write: write.__name__)
def test_a_sound_file_passes_and_pays_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path, write: Any
) -> None:
    path = write(tmp_path / "a.onnx")
    probe.check_in_child(path, **SHAPE)
    assert len(json.loads((own_cache / "probed.json").read_text())) == 1
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("tried again"))
    probe.check_in_child(path, **SHAPE)


def test_a_graph_without_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tried, "TIMEOUT_S", 0.01)
    with pytest.raises(ModelError, match="not loaded within"):
        probe.check_in_child(write_graph(tmp_path / "a.onnx"), **SHAPE)


@pytest.mark.parametrize(
    "place",
    [
        *("../secret.bin", "/etc/passwd", "a/../../secret.bin", "link.bin", "no-such-file", ""),
        *("folder", "C:\\x", "\\\\host\\x", "/dev/zero", "x\x1b[31m", "links/secret.bin", "."),
    ],
)
def test_weights_outside_the_folder_are_not_read(tmp_path: Path, place: str) -> None:
    folder = tmp_path / "model"
    (folder / "folder").mkdir(parents=True)
    (folder / "a").mkdir()
    (tmp_path / "secret.bin").write_bytes(np.ones(8, np.float32).tobytes())
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    (folder / "links").symlink_to(tmp_path)
    path = write_outside(folder / "case.onnx", place)
    for use in (check_outside_data, lambda path: OnnxEncoder(path, d_model=8).load()):
        with pytest.raises(ModelError, match="no file in its folder") as caught:
            use(path)
        assert str(caught.value).isprintable()


def test_weights_beside_the_graph_are_read(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(np.full(8, 2, np.float32).tobytes())
    path = write_outside(tmp_path / "case.onnx", "weights.bin")
    assert outside_places(path) == ["weights.bin"]
    with OnnxEncoder(path, d_model=8, max_window_s=1) as encoder:
        assert encoder.encode(np.ones(1280, np.float32))[0].tolist() == [2.0] * 8


@pytest.mark.parametrize("where", ["attribute", "branch", "sparse", "function"])
def test_tensors_are_found_wherever_a_graph_may_hold_them(tmp_path: Path, where: str) -> None:
    model = onnx.load_from_string(write_outside(tmp_path / "a.onnx", "../x").read_bytes())
    tensor = next(each for each in model.graph.initializer if each.name == "spread")
    model.graph.initializer.remove(tensor)
    node = helper.make_node("Constant", [], ["spread"], value=tensor)
    if where == "attribute":
        model.graph.node.append(node)
    elif where == "branch":
        branch = helper.make_graph([node], "b", [], [])
        model.graph.node.append(helper.make_node("If", ["c"], ["d"], then_branch=branch))
    elif where == "sparse":
        sparse = model.graph.sparse_initializer.add()
        sparse.values.CopyFrom(tensor)
    else:
        opset = [helper.make_opsetid("", 17)]
        model.functions.append(helper.make_function("me", "F", [], ["spread"], [node], opset))
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    assert outside_places(tmp_path / "a.onnx") == ["../x"]


def test_nothing_else_than_a_graph_is_taken_for_one(tmp_path: Path) -> None:
    whole = write_graph(tmp_path / "whole.onnx").read_bytes()
    nested = onnx.load_from_string(whole).graph
    for _ in range(30):
        outer = onnx.GraphProto()
        outer.node.append(helper.make_node("If", ["c"], ["d"], then_branch=nested))
        nested = outer
    deep = onnx.ModelProto(graph=nested).SerializeToString()
    for data in (b"", b"\x07", b"\x3a\xff", whole[:-3], b"\xff" * 20, deep):
        path = tmp_path / "case.onnx"
        path.write_bytes(data)
        with pytest.raises(ModelError, match="is not a usable ONNX encoder"):
            check_outside_data(path)


@pytest.mark.parametrize("field", ["key", "value"])
def test_metadata_that_is_no_text_is_told(tmp_path: Path, field: str) -> None:
    marker = "metadata" if field == "key" else "words"
    model = onnx.load(write_words(tmp_path / "a.onnx"))
    helper.set_model_props(model, {marker: " a\n b"})
    data = model.SerializeToString()
    spoilt = b"\xffetadata" if field == "key" else b"\xff\xfe\nXX"
    old = b"metadata" if field == "key" else b" a\n b"
    (tmp_path / "a.onnx").write_bytes(data.replace(old, spoilt, 1))
    with pytest.raises(ModelError) as caught:
        OnnxEncoder(tmp_path / "a.onnx", d_model=8).load()
    assert str(caught.value).isprintable()
