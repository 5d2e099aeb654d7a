"""Moving all positions by a constant must not change what is said."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_audiokv.errors import NativeError
from edge_audiokv.kv.shape import Rows
from edge_audiokv.native.context import HeadwiseContext
from edge_audiokv.native.model import Model

from .test_masked import random_rows

pytestmark = pytest.mark.integration

START, STEPS = 150, 20


def say(ours: HeadwiseContext, tokens: NDArray[np.int32]) -> list[int]:
    """Greedy continuation."""
    logits = ours.decode_tokens(tokens[START : START + 1])
    said = []
    for _ in range(STEPS):
        assert logits is not None
        said.append(int(logits.argmax()))
        logits = ours.decode_tokens(said[-1:])
    return said


@pytest.mark.parametrize("rows", ["f16", "q8_0"])
def test_same_text_after_a_shift(model_f32: Model, tokens: NDArray[np.int32], rows: str) -> None:
    shape = (model_f32.shape.n_layer, model_f32.shape.n_kv_head)
    capacity = np.random.default_rng(14).choice([192, 256], shape)
    with HeadwiseContext(model_f32, capacity, type_k=rows, type_v=rows, n_threads=1) as ours:
        ours.decode_tokens(tokens[:START], logits=False)
        ours.keep(random_rows(ours, {0: 0.5, 1: 0.8}, np.random.default_rng(15)))
        state, positions = ours.save_state(), ours.positions()
        ours.decode_tokens(tokens[START : START + 1])
        expected_logits = ours.decode_tokens(tokens[START + 1 : START + 2])
        ours.load_state(state)
        expected = say(ours, tokens)

        ours.load_state(state)
        ours.shift(100)
        assert ours.next_position == START + 100
        moved = ours.positions()
        held = np.arange(moved.shape[2]) < ours.counts[:, :, None]
        np.testing.assert_array_equal(moved[held], positions[held] + 100)
        ours.decode_tokens(tokens[START : START + 1])
        logits = ours.decode_tokens(tokens[START + 1 : START + 2])
        assert logits is not None and expected_logits is not None
        assert np.corrcoef(logits, expected_logits)[0, 1] > 0.999

        ours.load_state(state)
        ours.shift(100)
        assert say(ours, tokens) == expected


def test_there_and_back_restores_the_keys(model: Model, tokens: NDArray[np.int32]) -> None:
    with HeadwiseContext(model, 128, n_threads=1) as ours:
        ours.decode_tokens(tokens[:64])
        keys, values = ours.read_keys(3, 1), ours.read_values(3, 1)
        ours.shift(1000)
        turned = ours.read_keys(3, 1)
        assert np.abs(turned - keys).max() > 0.1
        # a rotation keeps each pair's length
        np.testing.assert_allclose(
            np.linalg.norm(turned, axis=1), np.linalg.norm(keys, axis=1), rtol=2e-3
        )
        np.testing.assert_array_equal(ours.read_values(3, 1), values)
        ours.shift(-1000)
        np.testing.assert_allclose(ours.read_keys(3, 1), keys, atol=0.02)
        assert ours.next_position == 64


def test_only_later_positions(model: Model, tokens: NDArray[np.int32]) -> None:
    """Sinks stay, the rest moves up behind them."""
    with HeadwiseContext(model, 128, n_threads=1) as ours:
        ours.decode_tokens(tokens[:64])
        mask = np.zeros((*ours.counts.shape, 64), np.bool_)
        mask[:, :, :4] = mask[:, :, 40:] = True
        ours.keep(Rows.from_mask(mask))
        keys = ours.read_keys(0, 0)
        ours.shift(-36, from_position=40)
        np.testing.assert_array_equal(ours.positions()[5, 2], np.arange(28))
        np.testing.assert_array_equal(ours.read_keys(0, 0)[:4], keys[:4])
        assert ours.next_position == 28
        assert ours.decode_tokens(tokens[64:66]) is not None


def test_refusals(model: Model, tokens: NDArray[np.int32]) -> None:
    with HeadwiseContext(model, 64, n_threads=1) as ours:
        ours.decode_tokens(tokens[:20])
        for delta, start, what in (
            (-30, None, "out of range"),
            (-5, 10, "pass the rows before"),
            (5, 20, "no position from 20 on"),
            (2**31 - 1, None, "out of range"),
        ):
            with pytest.raises(NativeError, match=what):
                ours.shift(delta, from_position=start)
        assert ours.next_position == 20
    with HeadwiseContext(model, 64, type_k="q4_0", type_v="q4_0", n_threads=1) as coarse:
        coarse.decode_tokens(tokens[:20])
        with pytest.raises(NativeError, match="q4_0 keys lose too much"):
            coarse.shift(-5)
