"""Bad calls give a code and a message and change nothing; bad files give one line."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_audiokv.errors import CacheFullError, ModelError, NativeError
from edge_audiokv.kv.shape import Rows
from edge_audiokv.native import bindings
from edge_audiokv.native.context import HeadwiseContext
from edge_audiokv.native.library import load
from edge_audiokv.native.model import Model
from edge_audiokv.native.stock import StockContext

from . import tiny


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    path = tiny.write(tmp_path_factory.mktemp("tiny") / "tiny.gguf", "llama")
    with Model(path) as model:
        yield model


@pytest.fixture
def ours(small: Model) -> Iterator[HeadwiseContext]:
    """Two levels: the second layer's heads have twice the rows."""
    capacity = np.array([[64, 64], [128, 128]], np.int32)
    with HeadwiseContext(small, capacity, n_threads=1) as context:
        context.decode_tokens(np.arange(20))
        yield context


def rows(*heads: list[int]) -> Rows:
    index = np.array([row for head in heads for row in head], np.int32)
    return Rows(index, np.array([len(head) for head in heads], np.int32).reshape(2, 2))


@pytest.mark.parametrize(
    ("heads", "code", "what"),
    [
        (([0, 2, 1], [0, 1, 2], [], []), bindings.NOT_ASCENDING, "row 1 after row 2"),
        (([0, 1, 1], [0, 1, 2], [], []), bindings.NOT_ASCENDING, "row 1 after row 1"),
        (([0, 1, 20], [0, 1, 2], [], []), bindings.OUT_OF_RANGE, "row 20 does not exist"),
        (([-1, 1, 2], [0, 1, 2], [], []), bindings.OUT_OF_RANGE, "row -1 does not exist"),
        (([0, 1], [0, 1, 2], [], []), bindings.UNEQUAL, "layer 0, KV head 1: 3 rows, but"),
        ((list(range(21)), [0], [], []), bindings.OUT_OF_RANGE, "cannot keep 21 rows of 20"),
    ],
)
def test_bad_keep_lists(
    ours: HeadwiseContext, heads: tuple[list[int], ...], code: int, what: str
) -> None:
    before, keys = ours.positions(), ours.read_keys(1, 1)
    with pytest.raises(NativeError, match=what) as caught:
        ours.keep(rows(*heads))
    assert caught.value.code == code
    np.testing.assert_array_equal(ours.positions(), before)
    np.testing.assert_array_equal(ours.read_keys(1, 1), keys)


def test_keep_lists_of_the_wrong_shape(ours: HeadwiseContext) -> None:
    with pytest.raises(NativeError, match=r"\[3, 2\], the cache is \[2, 2\]"):
        ours.keep(Rows(np.zeros(6, np.int32), np.ones((3, 2), np.int32)))
    with pytest.raises(NativeError, match="listed"):
        ours.keep(Rows(np.zeros(5, np.int32), np.ones((2, 2), np.int32)))
    with pytest.raises(NativeError, match="listed"):
        ours.keep(Rows(np.zeros(3, np.int32), np.ones((2, 2), np.int32)))
    assert (ours.counts == 20).all()


def test_a_full_head(ours: HeadwiseContext) -> None:
    assert ours.free_rows == 44
    with pytest.raises(CacheFullError, match="45 tokens do not fit: the fullest head can take 44"):
        ours.decode_tokens(np.arange(45) % tiny.N_VOCAB)
    assert (ours.counts == 20).all()
    ours.decode_tokens(np.arange(44))
    assert ours.free_rows == 0
    with pytest.raises(CacheFullError):
        ours.decode_tokens([1])
    # the large level has room: evicting the small one is enough
    ours.keep(rows([63], [5], list(range(64)), list(range(64))))
    assert ours.free_rows == 63
    assert ours.decode_tokens([1]) is not None
    assert ours.counts.tolist() == [[2, 2], [65, 65]]


def test_the_library_refuses_a_full_head_itself(ours: HeadwiseContext) -> None:
    """llama_decode behind our back: code 1, and nothing appended."""
    llama = ours.model.library.llama
    ids = np.zeros(64, np.int32)
    batch = llama.llama_batch_get_one(ids.ctypes.data_as(ctypes.POINTER(ctypes.c_int32)), 64)
    assert llama.llama_decode(ours._llama_ctx, batch) == 1
    assert "do not fit" in ours.model.library.hw.message()
    assert (ours.counts == 20).all()


def test_bad_input(ours: HeadwiseContext) -> None:
    n = ours.model.n_embd
    for emb, what in (
        (np.zeros((2, n + 1), np.float32), rf"\[T, {n}\], not \[2, {n + 1}\]"),
        (np.zeros(n, np.float32), "Embeddings must be"),
        (np.full((1, n), np.nan, np.float32), "not finite"),
        (np.zeros((0, n), np.float32), "nothing to decode"),
    ):
        with pytest.raises(NativeError, match=what):
            ours.decode_embeddings(emb)
    for ids in ([-1], [tiny.N_VOCAB]):
        with pytest.raises(NativeError, match="Token ids must be 0 to 63"):
            ours.decode_tokens(ids)
    with pytest.raises(NativeError, match="nothing to decode"):
        ours.decode_tokens([])
    with pytest.raises(NativeError, match="no token 64"):
        ours.model.piece(64)
    assert (ours.counts == 20).all()


def test_raw_calls_return_codes(ours: HeadwiseContext) -> None:
    """Null pointers and silly numbers, straight into C."""
    hw, ctx = ours.model.library.hw, ours._need()
    size = bindings.Bytes()
    bad = bindings.BAD_ARGUMENT
    assert hw.model_shape(None, ctypes.byref(bindings.Shape())) == bad
    assert hw.bytes_of(ctx, None) == bad
    assert hw.next_position(ctx, None) == bad
    assert hw.get_scores(ctx, None, 100) == bad
    assert hw.get_scores(ctx, (ctypes.c_float * 4)(), 1) == bad  # room for 20 rows is needed
    assert "room for 20 rows" in hw.message()
    assert hw.get_positions(ctx, None, 100) == bad
    assert hw.keep(ctx, None, None, 0) == bad
    assert hw.read_keys(ctx, 0, 0, None) == bad
    assert hw.read_keys(ctx, 2, 0, (ctypes.c_float * 1)()) == bindings.OUT_OF_RANGE
    assert hw.write_values(ctx, 0, 0, None, 1, None) == bad
    assert hw.set_score_window(ctx, -1) == bad
    assert hw.set_score_window(ctx, 33) == bad
    for call in (
        lambda: hw.bytes_of(None, ctypes.byref(size)),
        lambda: hw.free_rows(None),
        lambda: hw.keep(None, None, None, 0),
        lambda: hw.truncate(None, 0),
        lambda: hw.shift(None, 1, 0),
    ):
        assert call() == bindings.NOT_HEADWISE


def test_a_stock_context_is_told_apart(small: Model) -> None:
    library = load()
    with StockContext(small.path, 256, llama=library.llama) as stock:
        assert library.hw.free_rows(ctypes.c_void_p(stock.ctx)) == bindings.NOT_HEADWISE
        assert library.hw.message() == "the context has no head-wise cache"


def test_llama_cpps_own_sequence_calls(ours: HeadwiseContext) -> None:
    llama = ours.model.library.llama
    memory = llama.llama_get_memory(ours._llama_ctx)
    assert not llama.llama_memory_can_shift(memory)
    assert llama.llama_memory_seq_pos_max(memory, 0) == 19
    assert llama.llama_memory_seq_pos_min(memory, 0) == 0
    assert not llama.llama_memory_seq_rm(memory, 0, 3, 7)  # a hole: not in one call for all heads
    llama.llama_memory_seq_add(memory, 0, 0, -1, 5)  # logged, not done
    llama.llama_memory_seq_cp(memory, 0, 1, 0, -1)
    assert (ours.counts == 20).all()
    assert ours.next_position == 20
    assert llama.llama_memory_seq_rm(memory, 0, 15, -1)
    assert (ours.counts == 15).all()
    assert llama.llama_memory_seq_rm(memory, 0, -1, -1)
    assert not ours.counts.any()


def test_closed_and_unloaded(small: Model) -> None:
    context = HeadwiseContext(small, 64, n_threads=1)
    context.close()
    with pytest.raises(NativeError, match="not loaded"):
        context.decode_tokens([1])
    context.load().load()
    context.close()
    context.close()
    with pytest.raises(NativeError, match="not loaded"):
        _ = context.counts
    with pytest.raises(NativeError, match="not loaded"):
        _ = Model(small.path).n_embd


def test_bad_model_files(small: Model, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = small.path.read_bytes()
    files = {
        "missing.gguf": (None, "There is no model at"),
        "empty.gguf": (b"", "is not a GGUF file"),
        "foreign.gguf": (b"RIFF" + data[4:], "is not a GGUF file"),
        "short.gguf": (data[: len(data) // 2], "is truncated"),
        "header.gguf": (data[:200], "is truncated or damaged"),
        "garbage.gguf": (b"GGUF" + bytes(range(256)) * 20, "is not a usable GGUF"),
    }
    for name, (content, what) in files.items():
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ModelError, match=what) as caught:
            Model(path).load()
        assert "\n" not in str(caught.value)
    adapter = tmp_path / "adapter.gguf"
    adapter.write_bytes(data)
    with pytest.raises(ModelError, match="LoRA adapter"):
        Model(small.path, lora=adapter).load()
    with pytest.raises(ModelError, match="no LoRA adapter at"):
        Model(small.path, lora=tmp_path / "none.gguf").load()
    assert capfd.readouterr().err == ""  # llama.cpp's log goes to logging
