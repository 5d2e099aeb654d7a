"""Weights of another package's format, as they are and as they should not be."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edge_audiokv.encoder.filling import FLOAT, INT8, SCALE, fill, int8
from edge_audiokv.encoder.variables import Variables
from edge_audiokv.errors import ModelError

KINDS = {np.dtype("<f4"): 0, np.dtype("i1"): 1, np.dtype("<f2"): 4}


def text(value: str) -> bytes:
    raw = value.encode() + b"\0"
    return struct.pack("<H", len(raw)) + raw


def written(arrays: dict[str, np.ndarray], aliases: dict[str, str] | None = None) -> bytes:
    out = struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<II", 3, len(arrays))
    for name, array in arrays.items():
        shape = struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
        out += text(name) + shape + struct.pack("<BI", KINDS[array.dtype], array.nbytes)
        out += array.tobytes()
    out += struct.pack("<I", len(aliases or {}))
    for alias, name in (aliases or {}).items():
        out += text(alias) + text(name)
    return out


MATRIX = np.random.default_rng(0).standard_normal((3000, 5)).astype("<f2")
ARRAYS = {"a/weight": MATRIX, "a/bias": np.arange(4, dtype="<f4"), "n": np.array(7, dtype="i1")}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    target = tmp_path / "model.bin"
    target.write_bytes(written(ARRAYS, {"b/weight": "a/weight"}))
    return target


def test_variables_are_read_by_name_and_by_alias(path: Path) -> None:
    variables = Variables(path)
    assert sorted(variables) == ["a/bias", "a/weight", "b/weight", "n"]
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(variables[name], array)
    variables.drop_pages()
    np.testing.assert_array_equal(variables["b/weight"], MATRIX)
    with pytest.raises(ModelError, match="no weights 'c'"):
        variables["c"]


def test_a_file_that_is_cut_anywhere_is_told(path: Path) -> None:
    whole = written({"a/bias": np.arange(4, dtype="<f4")}, {"b": "a/bias"})
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        # Without its table of other names a file is whole.
        if size == len(whole) - len(struct.pack("<I", 1) + text("b") + text("a/bias")):
            assert list(Variables(path)) == ["a/bias"]
            continue
        with pytest.raises(ModelError, match="holds no CTranslate2 weights"):
            Variables(path)


@given(st.binary(max_size=200), st.integers(0, 120))
def test_garbage_is_told_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, garbage: bytes, at: int
) -> None:
    path = tmp_path_factory.mktemp("garbage") / "model.bin"
    whole = written({"a/bias": np.arange(4, dtype="<f4")})
    path.write_bytes(whole[:at] + garbage + whole[at + len(garbage) :])
    try:
        variables = Variables(path)
    except ModelError:
        return
    assert all(variables[name].nbytes <= path.stat().st_size for name in variables)


def test_places_are_filled_and_others_told(path: Path) -> None:
    variables = Variables(path)
    places = [f"a/weight|{INT8}", f"a/weight|{SCALE}", f"a/bias|{FLOAT}"]
    found = fill(variables, places)
    assert list(found) == places and found[places[0]].shape == (5, 3000)
    product = found[places[0]].T.astype(np.float32) * found[places[1]][:, None]
    assert np.abs(product - MATRIX).max() <= found[places[1]].max() / 2 + 1e-6
    for place in ("a/bias|int8", "a/weight|int4", "a/weight", "n|scale"):
        with pytest.raises(ModelError):
            fill(variables, [place])


@given(
    hnp.arrays(
        np.float16,
        st.tuples(st.integers(1, 9), st.integers(1, 9)),
        elements=st.floats(-8, 8, width=16),
    )
)
def test_int8_is_the_nearest_row_by_row(matrix: np.ndarray) -> None:
    turned, scale = int8(matrix)
    assert (np.abs(turned.T * scale[:, None] - matrix) <= scale[:, None] * 0.5001 + 1e-6).all()
