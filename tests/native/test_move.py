"""Rows moved each to a place of its own are those that would have been read there."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_audiokv.errors import NativeError
from edge_audiokv.kv.shape import IntArray, Rows
from edge_audiokv.native.context import HeadwiseContext
from edge_audiokv.native.model import Model

from . import tiny
from .test_append import all_rows
from .test_masked import random_rows

pytestmark = pytest.mark.integration

HELD = 120


def held(context: HeadwiseContext) -> IntArray:
    """Positions of all rows, head after head."""
    positions = context.positions()
    return positions[positions >= 0]


def ascending(rng: np.random.Generator, n: int, below: int) -> IntArray:
    return np.sort(rng.choice(below, n, replace=False)).astype(np.int32)


def read_at(context: HeadwiseContext, ids: NDArray[np.int32], places: IntArray) -> None:
    """Read each token at its place, the first time it is read."""
    for token, place in zip(ids, places, strict=True):
        context.move(held(context), int(place))
        context.decode_tokens([token], logits=False)


# In a model of one layer a row depends on its token and its place alone: all else is exact.
@pytest.mark.parametrize(
    ("arch", "yarn", "rows", "tolerance"),
    [
        ("llama", 1.0, "f16", 0.005),
        ("llama", 1.0, "q8_0", 0.08),
        ("llama", 4.0, "f16", 0.005),
        ("qwen2", 1.0, "f16", 0.005),
        ("qwen2vl", 1.0, "f16", 0.005),
        ("qwen2vl", 1.0, "q8_0", 0.08),
    ],
)
def test_logits_equal_those_of_a_context_read_there(
    tmp_path: Path, arch: str, yarn: float, rows: str, tolerance: float
) -> None:
    sizes = {"head_dim": 64} if arch == "llama" else {"n_head": 2}
    path = tiny.write(tmp_path / "one.gguf", arch, n_layer=1, yarn=yarn, **sizes)
    rng = np.random.default_rng(31)
    ids = rng.integers(0, tiny.N_VOCAB, HELD + 8).astype(np.int32)
    kinds = {"type_k": rows, "type_v": rows, "n_threads": 1}
    first, then = ascending(rng, HELD, 480), ascending(rng, HELD, 200)
    capacity = np.array([[128, 192]])
    with (
        Model(path) as model,
        HeadwiseContext(model, capacity, **kinds) as ours,
        HeadwiseContext(model, capacity, **kinds) as there,
    ):
        read_at(ours, ids[:HELD], first)
        read_at(there, ids[:HELD], then)
        kept = random_rows(ours, {0: 0.5, 1: 0.8}, rng)
        for context in (ours, there):
            context.keep(kept)
        assert (ours.positions() != there.positions()).any()
        before = ours.read_keys(0, 0)
        ours.move(then[kept.index], 200)
        np.testing.assert_array_equal(ours.positions(), there.positions())
        assert ours.next_position == 200
        there.move(held(there), 200)
        turned, expected = ours.read_keys(0, 0), there.read_keys(0, 0)
        assert np.abs(before - expected).max() > 10 * tolerance
        np.testing.assert_allclose(turned, expected, rtol=0, atol=tolerance)
        for part in (ids[HELD:-1], ids[-1:]):
            logits, wanted = ours.decode_tokens(part), there.decode_tokens(part)
            assert logits is not None and wanted is not None
            np.testing.assert_allclose(logits, wanted, rtol=0, atol=2 * tolerance)


@pytest.mark.parametrize(("rows", "tolerance"), [("f16", 0.005), ("q8_0", 0.08)])
def test_each_head_has_a_map_of_its_own(tmp_path: Path, rows: str, tolerance: float) -> None:
    path = tiny.write(tmp_path / "one.gguf", "llama", head_dim=64, n_layer=1)
    rng = np.random.default_rng(32)
    ids = rng.integers(0, tiny.N_VOCAB, HELD).astype(np.int32)
    kinds = {"type_k": rows, "type_v": rows, "n_threads": 1}
    with (
        Model(path) as model,
        HeadwiseContext(model, HELD, **kinds) as ours,
        HeadwiseContext(model, HELD, **kinds) as there,
    ):
        ours.decode_tokens(ids, logits=False)
        maps = [ascending(rng, HELD, 500) for _ in range(tiny.N_KV)]
        values = [ours.read_values(0, head) for head in range(tiny.N_KV)]
        ours.move(np.concatenate(maps), 512)
        for head, places in enumerate(maps):
            there.clear()
            read_at(there, ids, places)
            np.testing.assert_array_equal(ours.positions()[0, head, :HELD], places)
            found, expected = ours.read_keys(0, head), there.read_keys(0, head)
            np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
            np.testing.assert_array_equal(ours.read_values(0, head), values[head])


@pytest.mark.parametrize(("rows", "tolerance"), [("f16", 0.02), ("q8_0", 0.25)])
def test_turns_that_close_up(
    model_f32: Model, tokens: NDArray[np.int32], rows: str, tolerance: float
) -> None:
    """All layers of the real model: turns read alone, kept raggedly, lie as if they had always lain
    close together."""
    shape = (model_f32.shape.n_layer, model_f32.shape.n_kv_head)
    kinds = {"type_k": rows, "type_v": rows, "n_threads": 1}
    capacity = np.random.default_rng(33).choice([128, 192], shape)
    turns = [tokens[at : at + 40] for at in (0, 40, 80)]
    starts, closer = (0, 1500, 6000), (0, 40, 90)
    with (
        HeadwiseContext(model_f32, capacity, **kinds) as ours,
        HeadwiseContext(model_f32, capacity, **kinds) as there,
        HeadwiseContext(model_f32, 64, **kinds) as scratch,
    ):
        for context, places in ((ours, starts), (there, closer)):
            for turn, place in zip(turns, places, strict=True):
                scratch.clear()
                scratch.decode_tokens(turn, logits=False)
                scratch.shift(place)
                context.append_rows(scratch)
        kept = random_rows(ours, {0: 0.5, 1: 0.8}, np.random.default_rng(34))
        for context in (ours, there):
            context.keep(kept)
        ours.move(held(there), there.next_position)
        np.testing.assert_array_equal(ours.positions(), there.positions())
        logits, wanted = ours.decode_tokens(tokens[120:140]), there.decode_tokens(tokens[120:140])
        assert logits is not None and wanted is not None
        assert np.abs(logits - wanted).max() <= tolerance * wanted.std()


@pytest.mark.parametrize(("rows", "tolerance"), [("f16", 0.006), ("q8_0", 0.1)])
def test_a_hundred_squeezes(
    model: Model, tokens: NDArray[np.int32], rows: str, tolerance: float
) -> None:
    """Keys may drift by this share of their length, wherever a hundred moves have taken them."""
    rng = np.random.default_rng(35)
    with HeadwiseContext(model, 64, type_k=rows, type_v=rows, n_threads=1) as ours:
        ours.decode_tokens(tokens[:60], logits=False)
        home, before = held(ours), all_rows(ours)
        once, apart = 0.0, 0.0
        for squeeze in range(100):
            there = np.concatenate([ascending(rng, 60, 8000) for _ in range(ours.counts.size)])
            ours.move(there, 8192)
            if squeeze == 0:
                assert (held(ours) == there).all()
                apart = np.linalg.norm(all_rows(ours)[0] - before[0])
                ours.move(home, 60)
                once = np.linalg.norm(all_rows(ours)[0] - before[0])
        ours.move(home, 60)
        drift = np.linalg.norm(all_rows(ours) - before, axis=(-2, -1))
        length = np.linalg.norm(before, axis=(-2, -1))
        assert (drift <= tolerance * length).all()
        assert once < np.linalg.norm(drift) < apart / 10
        np.testing.assert_array_equal(all_rows(ours)[1], before[1])


def test_rows_that_stay_keep_their_bytes(tmp_path: Path) -> None:
    """The sinks of a squeeze: q8_0 rows lose nothing where nothing moves."""
    path = tiny.write(tmp_path / "two.gguf", "llama", head_dim=64)
    ids = np.arange(40, dtype=np.int32)
    with (
        Model(path) as model,
        HeadwiseContext(model, 64, type_k="q8_0", type_v="q8_0", n_threads=1) as ours,
    ):
        ours.decode_tokens(ids, logits=False)
        state = ours.save_state()
        ours.move(held(ours), 40)
        assert ours.save_state() == state
        keys = ours.read_keys(1, 1)
        places = np.r_[np.arange(4), np.arange(104, 140)]
        ours.move(np.tile(places, 4), 140)
        np.testing.assert_array_equal(ours.read_keys(1, 1)[:4], keys[:4])
        assert np.abs(ours.read_keys(1, 1)[4:] - keys[4:]).max() > 0.1
        # a state knows its places, wherever they are
        moved = ours.save_state()
        ours.clear()
        ours.load_state(moved)
        np.testing.assert_array_equal(held(ours), np.tile(places, 4))
        assert ours.next_position == 140


def test_refusals(tmp_path: Path) -> None:
    path = tiny.write(tmp_path / "two.gguf", "llama", head_dim=64)
    n = 20
    places = np.tile(np.arange(n), 4)

    def with_one(at: int, value: int) -> NDArray[np.int64]:
        changed = places.astype(np.int64)
        changed[at] = value
        return changed

    wrong: list[tuple[object, object, str]] = [
        (places[:-1], n, "79 positions are given, but the heads hold 80"),
        (np.append(places, 19), n, "81 positions are given"),
        (np.empty(0, np.int32), n, "0 positions are given"),
        (with_one(5, 4), n, "layer 0, KV head 0: position 4 after 4, positions must ascend"),
        (with_one(45, 3), n, "layer 1, KV head 0: position 3 after 4"),
        (with_one(0, -1), n, "row 0 cannot move to position -1"),
        (with_one(79, n), n, "layer 1, KV head 1: row 19 cannot move to position 20, before 20"),
        (places, n - 1, "position 19, before 19"),
        (places, -1, "the next position cannot be -1"),
        (places, tiny.N_CONTEXT + 1, "cannot be 513: 0 to 512 are possible"),
        (places, 2**31 - 1, "0 to 512 are possible"),
        (places, 2**32 + n, "does not fit 32 bits"),
        (places, 20.0, "must be a whole number"),
        (with_one(3, 2**32 + 3), n, "do not fit 32 bits"),
        (places.astype(np.float32), n, "must be whole numbers"),
    ]
    with Model(path) as model:
        with HeadwiseContext(model, 64, n_threads=1) as ours:
            ours.decode_tokens(np.arange(n, dtype=np.int32), logits=False)
            state = ours.save_state()
            for positions, following, what in wrong:
                with pytest.raises(NativeError, match=what):
                    ours.move(positions, following)  # type: ignore[arg-type]
                assert ours.save_state() == state
            # beyond the trained context only where the cache already is
            ours.shift(1000)
            ours.move(places + 900, n + 1000)
            with pytest.raises(NativeError, match="0 to 1020 are possible"):
                ours.move(places + 900, n + 1001)
        with pytest.raises(NativeError, match="not loaded"):
            ours.move(places, n)
        with HeadwiseContext(model, 64, type_k="q4_0", type_v="q4_0", n_threads=1) as coarse:
            coarse.decode_tokens(np.arange(n, dtype=np.int32), logits=False)
            coarse.move(places, n + 5)  # nothing turns
            with pytest.raises(NativeError, match="q4_0 keys lose too much"):
                coarse.move(places + 1, n + 5)
            np.testing.assert_array_equal(held(coarse), places)


def test_one_thread_at_a_time(tmp_path: Path) -> None:
    """Moves of several threads follow each other: each finds the cache whole."""
    path = tiny.write(tmp_path / "two.gguf", "llama", head_dim=64)
    places = np.tile(np.arange(40), 4)
    with Model(path) as model, HeadwiseContext(model, 64, n_threads=1) as ours:
        ours.decode_tokens(np.arange(40, dtype=np.int32), logits=False)
        failed: list[BaseException] = []

        def work(by: int) -> None:
            try:
                for _ in range(50):
                    ours.move(places + by, 100)
                    assert len(set(ours.positions()[..., 0].ravel())) == 1
            except BaseException as error:
                failed.append(error)

        threads = [threading.Thread(target=work, args=(by,)) for by in (0, 7, 31)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not failed
        assert int(held(ours)[0]) in (0, 7, 31)


def test_an_empty_cache_only_has_a_next_position(model: Model, tokens: NDArray[np.int32]) -> None:
    none = np.zeros((model.shape.n_layer, model.shape.n_kv_head), np.int32)
    with HeadwiseContext(model, 64, n_threads=1) as ours:
        ours.move(np.empty(0, np.int32), 300)
        ours.decode_tokens(tokens[:5], logits=False)
        assert (ours.positions() == np.arange(300, 305)).all()
        ours.keep(Rows(np.empty(0, np.int32), none))
        ours.move(np.empty(0, np.int32), 0)
        assert ours.next_position == 0
