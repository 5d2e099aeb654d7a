"""What stays on a device is moved there: no row travels to the machine and back.

Needs a library that was built with a backend: scripts/test_compute makes one and runs these.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_audiokv.kv.shape import Rows
from edge_audiokv.native.compute import ComputeDevice, find_device
from edge_audiokv.native.context import HeadwiseContext
from edge_audiokv.native.model import ALL_LAYERS, Model

from . import tiny
from .test_device import ids, per_head, same_logits
from .test_masked import random_rows
from .transfers import Carried, counting

pytestmark = pytest.mark.integration

N_ROWS = 8192
KEPT = 0.6


@pytest.fixture(scope="module")
def device() -> ComputeDevice:
    found = find_device("auto")
    if found is None:
        pytest.skip("this library was built for the CPU alone: scripts/test_compute builds another")
    return found


@pytest.fixture(scope="module")
def carried(device: ComputeDevice) -> Iterator[Carried]:
    with counting(device) as counts:
        yield counts


@pytest.fixture(scope="module")
def models(
    device: ComputeDevice, carried: Carried, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Model, Model]]:
    """On the device and on the CPU."""
    path = tiny.write(tmp_path_factory.mktemp("tiny") / "llama.gguf", "llama", head_dim=64)
    with Model(path, n_gpu_layers=ALL_LAYERS, device=device) as there, Model(path) as here:
        yield there, here


def moving(rows: Rows, shape: tuple[int, ...]) -> int:
    """Rows that do not lie where they shall."""
    heads = (rows.of(*at) for at in np.ndindex(*shape))
    return sum(int((kept != np.arange(len(kept))).sum()) for kept in heads)


@pytest.mark.parametrize(("type_k", "type_v"), [("f16", "f16"), ("q8_0", "q4_0")])
def test_keeping_of_8k_rows_moves_none_over_the_bus(
    models: tuple[Model, Model], carried: Carried, type_k: str, type_v: str
) -> None:
    kinds = {"type_k": type_k, "type_v": type_v, "n_batch": 64, "score_window": 8, "n_threads": 1}
    with (
        HeadwiseContext(models[0], N_ROWS, **kinds) as there,
        HeadwiseContext(models[1], N_ROWS, **kinds) as here,
    ):
        # Attention over so many rows is the CPU's to compute; where they came from is no matter.
        here.decode_tokens(ids(N_ROWS - 8), logits=False)
        there.load_state(here.save_state())
        for context in (here, there):
            context.decode_tokens(ids(8, 1), score=True)
        rows = random_rows(there, {0: KEPT}, np.random.default_rng(0))
        assert rows.count.min() >= KEPT * N_ROWS - 1
        before, scores = per_head(there), there.scores()

        carried.reset()
        there.keep(rows)
        # Which rows move: one number of 32 bits each.
        assert carried.to_device == 4 * moving(rows, rows.count.shape)
        assert (carried.to_host, carried.within) == (0, 0)

        for at, now, then in zip(
            np.ndindex(rows.count.shape), per_head(there), before, strict=True
        ):
            for ours, old in zip(now, then, strict=True):
                np.testing.assert_array_equal(ours, old[rows.of(*at)])
            np.testing.assert_array_equal(there.scores()[at], scores[at][rows.of(*at)])
        # What was just read came over it.
        assert carried.to_host >= there.pool_nbytes * KEPT

        there.decode_tokens(ids(4, 2), logits=False)
        carried.reset()
        there.truncate(N_ROWS)
        assert (carried.to_host, carried.to_device, carried.within) == (0, 0, 0)
        # Angles, and the matrix that quantised keys are turned back with.
        there.shift(1)
        assert carried.to_host == 0 and carried.to_device < there.pool_nbytes / 100


def test_appending_copies_on_the_device(models: tuple[Model, Model], carried: Carried) -> None:
    kinds = {"n_batch": 64, "n_threads": 1}
    with (
        HeadwiseContext(models[0], 256, **kinds) as first,
        HeadwiseContext(models[0], 512, **kinds) as second,
    ):
        for context in (first, second):
            context.decode_tokens(ids(100), logits=False)
        first.shift(100)
        carried.reset()
        second.append_rows(first)
        assert (carried.to_host, carried.to_device) == (0, 0)
        assert carried.within == 100 * second.shape.n_head * second.shape.row_bytes


def test_rows_of_odd_sizes_pass_through_the_machine_and_it_is_said(
    device: ComputeDevice, carried: Carried, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """34 bytes are no whole number of words."""
    path = tiny.write(tmp_path / "odd.gguf", "llama", head_dim=32)
    kinds = {"type_k": "q8_0", "type_v": "f16", "n_threads": 1}
    with (
        caplog.at_level(logging.INFO, "edge_audiokv.native"),
        Model(path, n_gpu_layers=ALL_LAYERS, device=device) as model,
        HeadwiseContext(model, 256, **kinds) as context,
    ):
        for n in (80, 40):
            context.decode_tokens(ids(n), logits=False)
            rows = random_rows(context, {0: 0.5}, np.random.default_rng(n))
            before = per_head(context)
            carried.reset()
            context.keep(rows)
            assert carried.to_host > 0
            for at, now, then in zip(
                np.ndindex(rows.count.shape), per_head(context), before, strict=True
            ):
                for ours, old in zip(now, then, strict=True):
                    np.testing.assert_array_equal(ours, old[rows.of(*at)])
    told = [record for record in caplog.records if "cannot be moved on" in record.getMessage()]
    assert len(told) == 1


def n_reused(context: HeadwiseContext) -> int:
    """Graphs that were computed again as they were."""
    llama = context.model.library.llama
    return int(llama.llama_perf_context(ctypes.c_void_p(context._ctx)).n_reused)


def test_a_graph_that_is_used_again_sees_the_rows_of_now(models: tuple[Model, Model]) -> None:
    """Steps reuse their graph before and after every call that moves rows."""
    kinds = {"n_batch": 64, "score_window": 8, "n_threads": 1}
    contexts = [HeadwiseContext(model, 512, **kinds) for model in (*models, *models)]
    with contexts[0] as there, contexts[1] as here, contexts[2] as more, contexts[3] as more_here:
        for context in (there, here):
            context.decode_tokens(ids(60), logits=False)
        for context in (more, more_here):
            context.decode_tokens(ids(20, 5), logits=False)
            context.shift(100)
        rows = random_rows(there, {0: 0.6}, np.random.default_rng(4))
        tokens = iter(ids(40, 3))

        def steps() -> None:
            before = n_reused(there)
            for _ in range(4):
                token = [int(next(tokens))]
                same_logits(there.decode_tokens(token), here.decode_tokens(token), "f16")
            assert n_reused(there) - before >= 3

        steps()
        for call, argument in (("keep", rows), ("truncate", 66), ("shift", 7)):
            for context in (there, here):
                getattr(context, call)(argument)
            steps()
        there.append_rows(more)
        here.append_rows(more_here)
        steps()
