"""Saving and resuming."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_audiokv.errors import NativeError
from edge_audiokv.native.context import HeadwiseContext
from edge_audiokv.native.model import Model

from .test_masked import random_rows

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("rows", ["f16", "q8_0", "q4_0"])
def test_round_trip_through_another_context(
    model: Model, tokens: NDArray[np.int32], rows: str
) -> None:
    shape = (model.shape.n_layer, model.shape.n_kv_head)
    capacity = np.random.default_rng(10).choice([128, 192, 256], shape)
    kind = {"type_k": rows, "type_v": rows, "n_threads": 1}
    share = {0: 0.3, 1: 0.5, 2: 0.7}
    with HeadwiseContext(model, capacity, **kind) as first:
        first.decode_tokens(tokens[:100])
        first.keep(random_rows(first, share, np.random.default_rng(11)))
        state = first.save_state()
        positions = first.positions()
        onward = first.decode_tokens(tokens[100:110])
        # only rows in use are saved
        assert len(state) < 0.6 * first.pool_nbytes
    # the same partition into levels, with more room
    with HeadwiseContext(model, capacity + 64, **kind) as second:
        second.decode_tokens(tokens[300:330])
        second.load_state(state)
        np.testing.assert_array_equal(second.positions(), positions)
        assert second.next_position == 100
        np.testing.assert_array_equal(second.decode_tokens(tokens[100:110]), onward)


def test_states_that_do_not_fit(model: Model, tokens: NDArray[np.int32]) -> None:
    shape = (model.shape.n_layer, model.shape.n_kv_head)
    ragged = np.random.default_rng(12).choice([64, 128], shape)
    with HeadwiseContext(model, ragged, n_threads=1) as source:
        source.decode_tokens(tokens[:60])
        source.keep(random_rows(source, {0: 0.2, 1: 0.9}, np.random.default_rng(13)))
        state = source.save_state()

        with HeadwiseContext(model, 128, n_threads=1) as one_level:
            one_level.decode_tokens(tokens[:5])
            with pytest.raises(NativeError, match="share level 0"):
                one_level.load_state(state)
            assert (one_level.counts == 5).all()  # refused before anything was touched
        with (
            HeadwiseContext(model, ragged, type_v="q8_0", n_threads=1) as other_rows,
            pytest.raises(NativeError, match="another model, row type or library"),
        ):
            other_rows.load_state(state)

        expected = source.positions()
        for damaged in (b"", b"nonsense", state[:100], state[: len(state) // 2]):
            with pytest.raises(NativeError, match="cannot be loaded"):
                source.load_state(damaged)
        source.load_state(state)
        np.testing.assert_array_equal(source.positions(), expected)
