"""What the cache cannot do it refuses, unchanged: each case once ended a process or spoiled it."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_audiokv.errors import EdgeAudioKVError, NativeError
from edge_audiokv.kv.shape import Rows
from edge_audiokv.native import bindings
from edge_audiokv.native.context import HeadwiseContext
from edge_audiokv.native.model import Model

from . import tiny

pytestmark = pytest.mark.integration
# A head size that upstream rotates where rows are quantised.
L, H, D = tiny.N_LAYER, tiny.N_KV, 64


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    path = tmp_path_factory.mktemp("tiny") / "llama.gguf"
    with Model(tiny.write(path, "llama", head_dim=D)) as model:
        yield model


@pytest.fixture(params=["f16", "q8_0", "q4_0"])
def cache(tiny_model: Model, request: pytest.FixtureRequest) -> Iterator[HeadwiseContext]:
    kind = request.param
    with HeadwiseContext(
        tiny_model, 64, type_k=kind, type_v=kind, n_batch=32, score_window=8, n_threads=1
    ) as context:
        context.decode_tokens(range(20), logits=False)
        yield context


# Where the keys begin in a state of 20 rows a head.
KEYS = 8 + 24 + 4 + L * H * (4 + 20 * 4)
BLOCK_BYTES = {"f16": 2, "q8_0": 34, "q4_0": 18}


def picture(cache: HeadwiseContext) -> tuple[object, ...]:
    return (cache.next_position, cache.positions().tolist(), cache.save_state())


def refused(cache: HeadwiseContext, call: Callable[[], object]) -> NativeError:
    before = picture(cache)
    with pytest.raises(NativeError) as caught:
        call()
    assert picture(cache) == before
    cache.decode_tokens([1], logits=False)
    return caught.value


@pytest.mark.parametrize("position", [-1, -5, -(2**31)])
def test_there_is_no_going_back_before_the_beginning(cache: HeadwiseContext, position: int) -> None:
    error = refused(cache, lambda: cache.truncate(position))
    assert error.code == bindings.OUT_OF_RANGE


def test_a_shift_cannot_pass_rows_that_stay(cache: HeadwiseContext) -> None:
    cache.decode_tokens(range(30), logits=False)
    index = np.tile(np.arange(11), L * H)
    cache.keep(Rows(index, np.full((L, H), 11)))
    assert cache.next_position == 50
    refused(cache, lambda: cache.shift(-45, from_position=30))
    if cache.type_k == "q4_0":
        return
    before = cache.next_position
    cache.shift(-30, from_position=30)
    assert cache.next_position == before - 30


def test_a_shift_cannot_make_positions_negative(cache: HeadwiseContext) -> None:
    index = np.tile(np.arange(15, 20), L * H)
    cache.keep(Rows(index, np.full((L, H), 5)))
    refused(cache, lambda: cache.shift(-18))


@pytest.mark.parametrize("value", [1e9, -1e9, 3e38, float("inf"), float("nan")])
def test_values_that_the_row_type_cannot_hold(cache: HeadwiseContext, value: float) -> None:
    data = np.zeros((2, D), np.float32)
    data[1, 3] = value
    refused(cache, lambda: cache.write_values(0, 0, np.array([1, 2]), data))


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.truncate(2**32),
        lambda c: c.truncate(1.5),
        lambda c: c.shift(2**32),
        lambda c: c.shift(-(2**40)),
        lambda c: c.shift(1, from_position=2**32),
        lambda c: c.keep(Rows(np.full(L * H, 2**32), np.full((L, H), 1))),
        lambda c: c.keep(Rows(np.zeros(L * H, np.int64), np.full((L, H), 2**32 + 1))),
        lambda c: c.keep(Rows(np.full(L * H, 2**63, np.uint64), np.full((L, H), 1))),
        lambda c: c.keep(Rows(np.full(L * H, 0.5), np.full((L, H), 1))),
        lambda c: c.write_values(0, 0, np.array([2**32]), np.zeros((1, D), np.float32)),
        lambda c: c.decode_tokens([2**32]),
        lambda c: c.decode_tokens(np.array([2**32 + 1])),
        lambda c: c.decode_tokens([1.5]),
        lambda c: c.decode_tokens([2**80]),
        lambda c: c.read_keys(2**32, 0),
        lambda c: c.read_keys(0, 0.5),
        lambda c: c.read_values(0, -1),
        lambda c: c.model.piece(2**32 + 1),
        lambda c: c.model.is_end_of_generation(2**32 + 2),
        lambda c: Model(c.model.path, n_gpu_layers=2**32),
    ],
)
def test_numbers_that_do_not_fit_32_bits(
    cache: HeadwiseContext, call: Callable[[HeadwiseContext], object]
) -> None:
    refused(cache, lambda: call(cache))


@pytest.mark.parametrize(
    "options",
    [
        {"capacity": 2**32 + 64},
        {"capacity": np.full((L, H), 2**32 + 64)},
        {"n_batch": 2**32 + 1},
        {"score_window": 2**32},
        {"max_levels": 2**32 + 8},
        {"n_threads": 2**32 + 1},
        {"n_threads": 0},
        {"n_outputs": 2**32 + 1},
        {"n_batch": 1.5},
    ],
)
def test_contexts_of_sizes_that_do_not_fit(tiny_model: Model, options: dict[str, object]) -> None:
    given = {"capacity": 64, **options}
    with pytest.raises(NativeError):
        HeadwiseContext(tiny_model, **given).load()  # type: ignore[arg-type]


def states(state: bytes, block: int = 2) -> dict[str, bytes]:
    """Damaged ones: upstream's head is 8 bytes, ours 24, then the last position. The rows are
    blocks of so many bytes, which begin with a half."""

    def with_number(at: int, number: int) -> bytes:
        return state[:at] + number.to_bytes(4, "little", signed=True) + state[at + 4 :]

    return {
        "a last position before the rows": with_number(32, 3),
        "a negative last position": with_number(32, -7),
        "a last position near the end of int": with_number(32, 2**31 - 1),
        "a position that does not ascend": with_number(40 + 8, 0),
        "a negative position": with_number(40, -2),
        "more rows than there is room for": with_number(36, 10_000),
        "another model": with_number(12, 77),
        "half of it": state[: len(state) // 2],
        "all but a byte": state[:-1],
        "a byte more": state + b"x",
        "nothing": b"",
        "values that are not finite": state[:-block]
        + b"\x00\x7c"
        + state[len(state) - block + 2 :],
        "keys that a turn would make infinite": (
            state[:KEYS] + b"\xff\x7b" + state[KEYS + 2 :]  # 65504
        ),
    }


@pytest.mark.parametrize("damage", list(states(bytes(100))))
def test_a_damaged_state_changes_nothing(cache: HeadwiseContext, damage: str) -> None:
    state = states(cache.save_state(), BLOCK_BYTES[cache.type_k])[damage]
    refused(cache, lambda: cache.load_state(state))


@pytest.mark.parametrize("kind", ["f16", "q8_0"])
def test_keys_that_pass_can_be_turned(tiny_model: Model, kind: str) -> None:
    """The largest keys that a state may hold stay finite, wherever a turn puts their length."""
    signs = np.random.default_rng(3).choice(np.array([-127, 127], np.int8), (20 * D // 32, 32))
    with HeadwiseContext(tiny_model, 64, type_k=kind, n_batch=32, n_threads=1) as context:
        context.decode_tokens(range(20), logits=False)
        state = context.save_state()
        for half in range(0x7BFF, 0x5C00, -0x100):
            scale = half.to_bytes(2, "little")
            rows = scale * (20 * D)
            if kind == "q8_0":
                rows = b"".join(scale + codes.tobytes() for codes in signs)
            try:
                context.load_state(state[:KEYS] + rows + state[KEYS + len(rows) :])
            except NativeError:
                continue
            for _ in range(20):
                context.shift(7)
                assert np.isfinite(context.read_keys(0, 0)).all(), hex(half)
            return
        pytest.fail("no large keys pass")


def test_what_could_not_be_loaded_is_not_saved(tiny_model: Model) -> None:
    """Turns can put the largest keys that a state may hold where no state may hold them."""
    with HeadwiseContext(tiny_model, 64, n_batch=32, n_threads=1) as context:
        context.decode_tokens(range(20), logits=False)
        state = context.save_state()
        largest = np.full(20 * D, 65504 / np.sqrt(2) - 64, np.float16).tobytes()
        state = state[:KEYS] + largest + state[KEYS + len(largest) :]
        context.load_state(state)
        saved = []
        for _ in range(20):
            context.shift(7)
            keys = context.read_keys(0, 0)
            try:
                state = context.save_state()
            except NativeError as error:
                assert "cannot be saved" in str(error)
                np.testing.assert_array_equal(context.read_keys(0, 0), keys)
                saved.append(False)
            else:
                context.load_state(state)
                saved.append(True)
        assert not all(saved)


@pytest.mark.parametrize(
    "positions", [[1, 0, 2], [-1, 0, 1], [2**30, 2**30 + 1, 2**30 + 2], [0, 0, 1]]
)
def test_a_batch_whose_positions_do_not_ascend(
    cache: HeadwiseContext, positions: list[int]
) -> None:
    """Upstream lets a batch have an order of its own, and an empty cache begin anywhere."""
    llama = cache.model.library.llama
    for begun in (False, True):
        cache.clear()
        if begun:
            cache.decode_tokens([1, 2], logits=False)
        before = picture(cache)
        offset = 2 if begun and max(positions) < 10 else 0
        tokens = np.array([1, 2, 3], np.int32)
        places = np.array(positions, np.int32) + offset
        batch = llama.llama_batch()
        batch.n_tokens = 3
        batch.token = tokens.ctypes.data_as(ctypes.POINTER(llama.llama_token))
        batch.pos = places.ctypes.data_as(ctypes.POINTER(llama.llama_pos))
        assert llama.llama_decode(cache._llama_ctx, batch) < 0
        assert picture(cache) == before


@pytest.mark.parametrize("drop", ["clear", "forget", "truncate", "keep", "load_state"])
def test_what_was_spoilt_is_gone_once_it_is_dropped(cache: HeadwiseContext, drop: str) -> None:
    """Attention sums in f16: values that are finite make activations that are not."""
    cache.clear()
    cache.decode_tokens(range(4), logits=False)
    state = cache.save_state()
    cache.decode_tokens(range(20), logits=False)
    for layer in range(L):
        for head in range(H):
            rows = np.arange(4, 24)
            cache.write_values(layer, head, rows, np.full((20, D), 30000, np.float32))
    cache.decode_tokens(range(20), logits=False)
    if drop == "clear":
        cache.clear()
        cache.decode_tokens(range(4), logits=False)
    elif drop == "forget":  # upstream's way without the bytes
        llama = cache.model.library.llama
        llama.llama_memory_clear(llama.llama_get_memory(cache._llama_ctx), False)
        cache.decode_tokens(range(4), logits=False)
    elif drop == "truncate":
        cache.truncate(4)
    elif drop == "keep":
        cache.keep(Rows(np.tile(np.arange(4), L * H), np.full((L, H), 4)))
    else:
        cache.load_state(state)
    logits = cache.decode_tokens([5], score=True)
    assert logits is not None and np.isfinite(logits).all()
    np.testing.assert_allclose(cache.scores().sum(axis=2), 1.0, atol=1e-3)


def test_the_library_refuses_null_pointers(cache: HeadwiseContext) -> None:
    hw, ctx = cache.model.library.hw, cache._need()
    null = ctypes.POINTER(ctypes.c_int32)()
    before = picture(cache)
    for code in (
        hw.check_state(ctx, None, 10),
        hw.check_state(None, None, 0),
        hw.keep(ctx, null, null, 0),
        hw.keep(ctx, null, null, -1),
        hw.get_positions(ctx, None, 10),
        hw.get_positions(ctx, None, -1),
        hw.write_values(ctx, 0, 0, null, 3, None),
        hw.write_values(ctx, 0, 0, null, -3, None),
        hw.set_score_window(ctx, -1),
        hw.set_score_window(ctx, 33),
        hw.append_rows(ctx, ctx),
        hw.truncate(ctx, -1),
        hw.next_position(ctx, None),
    ):
        assert code < 0
    assert picture(cache) == before


def test_two_threads_take_turns(cache: HeadwiseContext) -> None:
    cache.clear()
    problems: list[BaseException] = []
    before, n = threading.active_count(), 6

    def work() -> None:
        try:
            for _ in range(20):
                cache.decode_tokens([1], logits=False, score=True)
                cache.positions()
                cache.scores()
                if cache.free_rows < 2 * n:
                    cache.truncate(1)
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work) for _ in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == [] and threading.active_count() == before
    counts = cache.counts
    assert (counts == counts[0, 0]).all() and cache.next_position > 0


def test_closing_waits_for_the_call_in_progress(tiny_model: Model) -> None:
    for _ in range(10):
        context = HeadwiseContext(tiny_model, 512, n_batch=32, n_threads=1).load()
        problems: list[BaseException] = []

        def work(used: HeadwiseContext = context, told: list[BaseException] = problems) -> None:
            try:
                while True:
                    used.clear()
                    used.decode_tokens(list(range(60)) * 8, logits=False)
            except EdgeAudioKVError as ended:
                told.append(ended)

        thread = threading.Thread(target=work)
        thread.start()
        time.sleep(0.01)
        context.close()
        thread.join(timeout=30)
        assert not thread.is_alive()
        assert [type(problem) for problem in problems] == [NativeError]
        assert "not loaded" in str(problems[0])


def test_closing_a_model_closes_its_contexts_first(tmp_path: Path) -> None:
    model = Model(tiny.write(tmp_path / "llama.gguf", "llama")).load()
    contexts = [HeadwiseContext(model, 128, n_batch=32, n_threads=1).load() for _ in range(3)]
    told: list[BaseException] = []

    def work(used: HeadwiseContext) -> None:
        try:
            while True:
                used.clear()
                used.decode_tokens(range(60), logits=False)
        except EdgeAudioKVError as error:
            told.append(error)

    threads = [threading.Thread(target=work, args=(context,)) for context in contexts]
    for thread in threads:
        thread.start()
    time.sleep(0.02)
    model.close()
    for thread in threads:
        thread.join(timeout=30)
    assert len(told) == 3 and not any(thread.is_alive() for thread in threads)
    with pytest.raises(NativeError, match="not loaded"):
        contexts[0].load()
