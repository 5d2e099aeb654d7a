"""Each call on a compute device does what it does on the CPU, and moves rows byte by byte.

Needs a library that was built with a backend: scripts/test_compute makes one and runs these.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_audiokv.kv.shape import FloatArray, IntArray, Rows
from edge_audiokv.native.compute import ComputeDevice, find_device
from edge_audiokv.native.context import HeadwiseContext
from edge_audiokv.native.model import ALL_LAYERS, Model

from . import tiny
from .test_append import all_rows
from .test_masked import random_rows
from .test_move import ascending, held
from .walking import Walk, step

pytestmark = pytest.mark.integration

ROW_TYPES = [("f16", "f16"), ("q8_0", "q8_0"), ("q4_0", "q4_0"), ("q8_0", "f16")]
# Ragged: two levels, each with heads of both layers.
CAPACITY = np.array([[256, 512], [512, 256]], np.int32)
READ = 150
# Sums in another order, and a device's rounding of quantised rows, move a value by a step of it.
TOLERANCE = {"f16": 0.03, "q8_0": 0.15, "q4_0": 0.9}


class Pair(NamedTuple):
    """The same weights on the device and on the CPU."""

    device: Model
    cpu: Model

    def open(self, type_k: str, type_v: str) -> tuple[HeadwiseContext, HeadwiseContext]:
        kinds = {"type_k": type_k, "type_v": type_v, "n_batch": 64, "score_window": 8}
        return (
            HeadwiseContext(self.device, CAPACITY, **kinds, n_threads=1),
            HeadwiseContext(self.cpu, CAPACITY, **kinds, n_threads=1),
        )


@pytest.fixture(scope="module")
def device() -> ComputeDevice:
    found = find_device("auto")
    if found is None:
        pytest.skip("this library was built for the CPU alone: scripts/test_compute builds another")
    return found


@pytest.fixture(scope="module")
def pair(device: ComputeDevice, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    path = tiny.write(tmp_path_factory.mktemp("tiny") / "llama.gguf", "llama", head_dim=64)
    with (
        Model(path, n_gpu_layers=ALL_LAYERS, device=device) as there,
        Model(path) as here,
    ):
        yield Pair(there, here)


def ids(n: int, seed: int = 0) -> IntArray:
    return np.random.default_rng(seed).integers(0, tiny.N_VOCAB, n).astype(np.int32)


def same_logits(ours: FloatArray | None, wanted: FloatArray | None, kind: str) -> None:
    assert ours is not None and wanted is not None
    assert np.isfinite(ours).all()
    assert np.abs(ours - wanted).max() <= TOLERANCE[kind] * wanted.std()


def per_head(context: HeadwiseContext) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Keys and values of each head."""
    heads = np.ndindex(context.capacity.shape)
    return [(context.read_keys(*at), context.read_values(*at)) for at in heads]


def kept_of(context: HeadwiseContext, rows: Rows, before: list[tuple[FloatArray, ...]]) -> None:
    """Each head holds the very rows that it was to keep."""
    for at, ours, old in zip(
        np.ndindex(context.capacity.shape), per_head(context), before, strict=True
    ):
        for now, then in zip(ours, old, strict=True):
            np.testing.assert_array_equal(now, then[rows.of(*at)])


@pytest.mark.parametrize(("type_k", "type_v"), ROW_TYPES)
def test_reading_scoring_keeping(pair: Pair, type_k: str, type_v: str) -> None:
    """A prompt in pieces, scores, a ragged keep, words after it, going back and on."""
    worst = max(type_k, type_v, key=lambda kind: TOLERANCE[kind])
    tokens = ids(READ + 40)
    ours, cpu = pair.open(type_k, type_v)
    with ours, cpu:
        assert (ours.capacity == CAPACITY).all()
        for part in (tokens[:64], tokens[64:READ]):
            same_logits(
                ours.decode_tokens(part, score=True), cpu.decode_tokens(part, score=True), worst
            )
        scores, wanted = ours.scores(), cpu.scores()
        np.testing.assert_allclose(scores.sum(axis=2), 1, atol=1e-3)
        np.testing.assert_allclose(scores, wanted, atol=TOLERANCE[worst] * wanted.max())
        rng = np.random.default_rng(1)
        rows = random_rows(ours, {0: 0.4, 1: 0.7}, rng)
        before = per_head(ours)
        for context in (ours, cpu):
            context.keep(rows)
        kept_of(ours, rows, before)
        for at in np.ndindex(CAPACITY.shape):
            count = ours.counts[at]
            np.testing.assert_array_equal(ours.scores()[at][:count], scores[at][rows.of(*at)])
        for part in (tokens[READ : READ + 1], tokens[READ + 1 : READ + 20]):
            same_logits(ours.decode_tokens(part), cpu.decode_tokens(part), worst)
        for context in (ours, cpu):
            context.truncate(READ + 1)
        same_logits(ours.decode_tokens(tokens[-5:]), cpu.decode_tokens(tokens[-5:]), worst)


@pytest.mark.parametrize(("type_k", "type_v"), [ROW_TYPES[0], ROW_TYPES[1], ROW_TYPES[3]])
def test_turning_keys(pair: Pair, type_k: str, type_v: str) -> None:
    """Shifts from any row on, and a map for each head; rows that stay keep their bytes."""
    rng = np.random.default_rng(2)
    ours, cpu = pair.open(type_k, type_v)
    with ours, cpu:
        for context in (ours, cpu):
            context.decode_tokens(ids(READ), logits=False)
        before = per_head(ours)
        for first in (0, 37, 101):
            for context in (ours, cpu):
                context.shift(5, from_position=first + 5 * (first > 0))
        for (keys, values), (old_keys, old_values) in zip(per_head(ours), before, strict=True):
            np.testing.assert_array_equal(values, old_values)
            assert np.abs(keys - old_keys).max() > 0.1
        np.testing.assert_allclose(
            all_rows(ours)[0], all_rows(cpu)[0], rtol=0, atol=3 * TOLERANCE[type_k]
        )
        for context in (ours, cpu):
            context.clear()
            context.decode_tokens(ids(READ), logits=False)
        before = per_head(ours)
        places = [
            np.r_[np.arange(7), 7 + ascending(rng, READ - 7, 400)] for _ in range(CAPACITY.size)
        ]
        for context in (ours, cpu):
            context.move(np.concatenate(places), 420)
        np.testing.assert_array_equal(held(ours), np.concatenate(places))
        for (keys, values), (old_keys, old_values) in zip(per_head(ours), before, strict=True):
            np.testing.assert_array_equal(keys[:7], old_keys[:7])
            np.testing.assert_array_equal(values, old_values)
        np.testing.assert_allclose(
            all_rows(ours)[0], all_rows(cpu)[0], rtol=0, atol=2 * TOLERANCE[type_k]
        )
        same_logits(ours.decode_tokens(ids(3, 5)), cpu.decode_tokens(ids(3, 5)), type_k)


@pytest.mark.parametrize(("type_k", "type_v"), ROW_TYPES)
def test_rows_from_one_place_to_another(pair: Pair, type_k: str, type_v: str) -> None:
    """Appended between contexts, saved and loaded, from device to CPU and back: the same bytes."""
    ours, cpu = pair.open(type_k, type_v)
    other, _ = pair.open(type_k, type_v)
    with ours, cpu, other:
        ours.decode_tokens(ids(40), logits=False)
        other.decode_tokens(ids(60, 1), logits=False)
        state = other.save_state()
        cpu.load_state(state)
        assert cpu.save_state() == state
        np.testing.assert_array_equal(all_rows(cpu), all_rows(other))
        ours.load_state(cpu.save_state())
        assert ours.save_state() == state
        ours.truncate(33)
        written = np.full((2, ours.shape.head_dim), 0.5, np.float32)
        for context in (ours, cpu):
            context.write_values(1, 0, np.array([3, 32]), written)
        here, there = (context.read_values(1, 0)[[3, 32]] for context in (cpu, ours))
        np.testing.assert_array_equal(there, here)
        if type_k == "q4_0":
            return
        other.shift(33)
        before, added = per_head(ours), per_head(other)
        ours.append_rows(other)
        for now, old, new in zip(per_head(ours), before, added, strict=True):
            for rows, first, then in zip(now, old, new, strict=True):
                np.testing.assert_array_equal(rows, np.concatenate([first, then]))


@pytest.mark.parametrize("seed", range(3))
def test_any_sequence_of_calls(pair: Pair, seed: int) -> None:
    """Beside a model of the cache in numpy; what must be refused is, and changes nothing."""
    draw = random.Random(seed)
    ours, _ = pair.open("f16", "f16")
    other, _ = pair.open("f16", "f16")
    with ours, other:
        walks = Walk(ours), Walk(other)
        for _ in range(40):
            here = draw.randrange(2)
            step(draw, walks[here], walks[1 - here])


def test_working_buffers_that_come_and_go(pair: Pair) -> None:
    """A driver that touches what was freed ends the process, here or at the next allocation."""
    rng = np.random.default_rng(3)
    for round_ in range(6):
        ours, _ = pair.open("f16", "f16")
        with ours:
            for n in (1, 5, 60, 64, 3):
                ours.decode_tokens(ids(n, round_), score=True)
                ours.keep(random_rows(ours, {0: 0.5, 1: 0.8}, rng))
                ours.shift(2)
            assert np.isfinite(ours.decode_tokens(ids(2))).all()


def test_some_layers_on_the_device(pair: Pair, device: ComputeDevice) -> None:
    """The cache stays in the machine's memory, and its rows are as short as there."""
    with (
        Model(pair.cpu.path, n_gpu_layers=2, device=device) as some,
        HeadwiseContext(some, 64, n_threads=1) as ours,
        HeadwiseContext(pair.cpu, 64, n_threads=1) as cpu,
    ):
        assert not some.holds_cache_on_device
        assert (ours.capacity == 64).all()
        same_logits(ours.decode_tokens(ids(50)), cpu.decode_tokens(ids(50)), "f16")


@pytest.mark.parametrize("head_dim", [32])
def test_quantised_rows_of_any_size(device: ComputeDevice, tmp_path: Path, head_dim: int) -> None:
    """Rows whose bytes are no multiple of four are dropped and overwritten like others."""
    path = tiny.write(tmp_path / "odd.gguf", "llama", head_dim=head_dim)
    kinds = {"type_k": "q8_0", "type_v": "q8_0", "n_threads": 1}
    with (
        Model(path, n_gpu_layers=ALL_LAYERS, device=device) as there,
        HeadwiseContext(there, 256, **kinds) as ours,
    ):
        ours.decode_tokens(ids(51), logits=False)
        before = per_head(ours)
        ours.truncate(33)
        for now, then in zip(per_head(ours), before, strict=True):
            np.testing.assert_array_equal(now[0], then[0][:33])
            np.testing.assert_array_equal(now[1], then[1][:33])
        assert np.isfinite(ours.decode_tokens(ids(2))).all()
