"""A graph's words in blocks against the same graph in one piece."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edge_audiokv.errors import InputError
from edge_audiokv.train.word_blocks import split_words

WIDTH, KEPT = 6, 4


def in_one_piece(n_words: int, seed: int) -> Any:
    """What export_onnx writes of the words, from hidden states on."""
    rng = np.random.default_rng(seed)
    stored = {
        "table_i8": rng.integers(-127, 128, (n_words, WIDTH)).astype(np.int8),
        "table_scale": rng.uniform(0.01, 0.05, n_words).astype(np.float32),
        "blank": rng.standard_normal((WIDTH, 1)).astype(np.float32),
        "bias": rng.standard_normal(n_words + 1).astype(np.float32),
        "one": np.array([1]),
        "end": np.array([2**62]),
        "axis": np.array([2]),
        "kept": np.array([KEPT]),
    }
    nodes = [
        ("MatMul", ["hidden", "blank"], ["silent"], {}),
        ("DequantizeLinear", ["table_i8", "table_scale"], ["table"], {"axis": 0}),
        ("Cast", ["table"], ["cast"], {"to": 1}),
        ("Transpose", ["cast"], ["turned"], {"perm": [1, 0]}),
        ("MatMul", ["hidden", "turned"], ["spoken"], {}),
        ("Concat", ["silent", "spoken"], ["joined"], {"axis": -1}),
        ("Add", ["joined", "bias"], ["logits"], {}),
        ("Softmax", ["logits"], ["shares"], {"axis": -1}),
        ("Slice", ["shares", "one", "end", "axis"], ["belief"], {}),
        ("TopK", ["belief", "kept"], ["beliefs", "words"], {"axis": -1}),
    ]
    graph = helper.make_graph(
        [helper.make_node(kind, ins, outs, **facts) for kind, ins, outs, facts in nodes],
        "words",
        [helper.make_tensor_value_info("hidden", TensorProto.FLOAT, [1, "tokens", WIDTH])],
        [
            helper.make_tensor_value_info("beliefs", TensorProto.FLOAT, [1, "tokens", KEPT]),
            helper.make_tensor_value_info("words", TensorProto.INT64, [1, "tokens", KEPT]),
        ],
        [numpy_helper.from_array(value, name) for name, value in stored.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8)


def run(model: Any, hidden: np.ndarray) -> Any:
    onnx.checker.check_model(model)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["beliefs", "words"], {"hidden": hidden})


@settings(max_examples=25, deadline=None)
@given(
    n_words=st.integers(KEPT, 400),
    n_blocks=st.integers(1, 12),
    n_tokens=st.integers(1, 5),
    seed=st.integers(0, 2**32 - 1),
)
def test_blocks_say_the_same_words_as_surely(
    n_words: int, n_blocks: int, n_tokens: int, seed: int
) -> None:
    model = in_one_piece(n_words, seed)
    hidden = np.random.default_rng(seed).standard_normal((1, n_tokens, WIDTH)).astype(np.float32)
    beliefs, words = run(model, hidden)
    split_words(model, n_blocks)
    beliefs_now, words_now = run(model, hidden)
    np.testing.assert_allclose(beliefs_now, beliefs, atol=1e-5)
    # Two words may be as likely, and the last as one that is left out.
    apart = beliefs[..., :-1] - beliefs[..., 1:] > 1e-5
    clear = apart & np.insert(apart, 0, True, axis=-1)[..., :-1]
    np.testing.assert_array_equal(words_now[..., :-1][clear], words[..., :-1][clear])
    stored = {each.name for each in model.graph.initializer}
    assert stored.isdisjoint({"table_i8", "table_scale"})


def test_what_is_split_is_not_split_again() -> None:
    model = in_one_piece(100, 0)
    split_words(model)
    before = model.SerializeToString()
    with pytest.raises(InputError, match="cannot be split"):
        split_words(model)
    assert model.SerializeToString() == before
