"""`quantize`: files that load, are as large as was said, and appear whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import gguf
import numpy as np
import pytest
from click.testing import CliRunner, Result

from edge_audiokv.cli.main import cli
from edge_audiokv.errors import ModelError, OutputError
from edge_audiokv.models.download import LocalModel
from edge_audiokv.models.gguf import read_header
from edge_audiokv.models.imatrix import Imatrix, read_imatrix
from edge_audiokv.native.context import HeadwiseContext
from edge_audiokv.native.model import Model
from edge_audiokv.native.quantize import file_types

from ...native import tiny

pytestmark = pytest.mark.integration


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tiny.write(tmp_path / "tiny-f32.gguf", "llama")


def run(*args: object) -> Result:
    return CliRunner().invoke(cli, ["quantize", *map(str, args), "-t", "1"])


def test_files_are_named_hashed_and_of_the_type_that_they_say(source: Path) -> None:
    done = run(source, "--types", "Q8_0,f16", "--json")
    assert done.exit_code == 0, done.stderr
    made = json.loads(done.stdout)
    assert [Path(item["path"]).name for item in made] == ["tiny.Q8_0.gguf", "tiny.F16.gguf"]
    for item in made:
        path = Path(item["path"])
        assert item["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert item["file_bytes"] == path.stat().st_size < source.stat().st_size
        types = [tensor.tensor_type.name for tensor in gguf.GGUFReader(str(path)).tensors]
        assert item["tensors"] == {name: types.count(name) for name in set(types)}
        assert item["type"] in types
    assert made[0]["bits_per_weight"] < made[1]["bits_per_weight"]


def test_what_is_made_says_nearly_what_its_source_says(source: Path, tmp_path: Path) -> None:
    assert run(source, "--types", "Q8_0", "-o", tmp_path / "new").exit_code == 0
    logits = []
    for path in (source, tmp_path / "new" / "tiny.Q8_0.gguf"):
        with Model(path) as model, HeadwiseContext(model, 64, n_threads=1) as context:
            logits.append(context.decode_tokens([1, 2, 3, 4]))
    one, other = (np.asarray(item).ravel() for item in logits)
    assert 0 < np.abs(one - other).max() < 0.1 * np.abs(one).max()


def test_a_dry_run_says_the_size_and_writes_nothing(source: Path) -> None:
    dry = json.loads(run(source, "--types", "Q8_0", "--dry-run", "--json").stdout)
    assert list(source.parent.iterdir()) == [source]
    real = json.loads(run(source, "--types", "Q8_0", "--json").stdout)
    assert dry[0]["bits_per_weight"] == real[0]["bits_per_weight"]
    listed = run(source, "--types", "all", "--dry-run")
    refused = listed.exit_code != 0  # one that this tiny model cannot have ends it
    assert refused or len(listed.stdout.splitlines()) == len(file_types())


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (("--types", "Q9_X"), "Use one of F32"),
        (("--types", "Q8_0", "--output-type", "Q9"), "There is no type"),
        (("--types", ""), "separated by commas"),
        (("--types", "F32"), "is there already"),
    ],
)
def test_what_can_not_be_made_is_told_and_leaves_nothing(
    source: Path, args: tuple[str, ...], why: str
) -> None:
    (source.parent / "tiny.F32.gguf").write_text("mine")
    before = {path: path.read_bytes() for path in source.parent.iterdir()}
    done = run(source, *args)
    assert done.exit_code != 0 and why in str(done.exception) + done.stderr
    assert {path: path.read_bytes() for path in source.parent.iterdir()} == before


def test_places_that_hold_no_file_are_told(source: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    done = run(tmp_path / "pipe.gguf", "--types", "Q8_0")
    assert isinstance(done.exception, ModelError) and "it is no file" in str(done.exception)
    done = run(source, "--types", "Q8_0", "-o", source)
    assert isinstance(done.exception, OutputError)


def test_types_that_need_an_importance_matrix_are_refused(
    local_model: LocalModel, tmp_path: Path
) -> None:
    file = local_model.gguf_path
    (dry,) = json.loads(run(file, "--types", "IQ2_XXS", "--dry-run", "--json").stdout)
    assert dry["needs_imatrix"]
    done = run(file, "--types", "IQ2_XXS", "-o", tmp_path)
    assert done.exit_code != 0 and "imatrix" in str(done.exception)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_gguf_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "notes.gguf"
    path.write_text("not a model" * 100)
    done = run(path)
    assert done.exit_code != 0 and "GGUF" in str(done.exception)
    data = tiny.write(tmp_path / "t.gguf", "llama").read_bytes()
    path.write_bytes(data[: len(data) // 2])
    done = run(path, "--types", "Q8_0")
    assert done.exit_code != 0 and str(path) in str(done.exception)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["notes.gguf", "t.gguf"]


def test_an_importance_matrix_spares_what_is_driven(source: Path, tmp_path: Path) -> None:
    """Errors are weighed by mean squares: less of them where it counts, and it is written down."""
    tensors = {tensor.name: np.array(tensor.data) for tensor in gguf.GGUFReader(source).tensors}
    name = "blk.0.attn_q.weight"
    weights = np.where(np.arange(tensors[name].shape[1]) % 2, 100, 0.01).astype(np.float32)
    sums = {key: np.ones((1, data.shape[1]), np.float32) for key, data in tensors.items()
            if data.ndim == 2 and key.startswith("blk.")}  # fmt: skip
    sums[name] = weights[None] * 4
    counts = {key: np.array([4 if key == name else 1], np.float32) for key in sums}
    Imatrix(sums, counts, ("speech.jsonl",), 7, 128).save(tmp_path / "i.gguf")
    errors = []
    for folder, more in (("with", ["--imatrix", tmp_path / "i.gguf"]), ("without", [])):
        done = run(source, "--types", "Q4_0", "-o", tmp_path / folder, *more)
        assert done.exit_code == 0, done.exception
        reader = gguf.GGUFReader(tmp_path / folder / "tiny.Q4_0.gguf")
        (made,) = [tensor for tensor in reader.tensors if tensor.name == name]
        apart = gguf.dequantize(made.data, made.tensor_type) - tensors[name]
        errors.append(float((weights * apart**2).sum()))
        keys = {key: field.contents() for key, field in reader.fields.items() if "imatrix" in key}
        told = {"file": "i.gguf", "dataset": "speech.jsonl", "entries_count": len(sums),
                "chunks_count": 7}  # fmt: skip
        expected = {f"quantize.imatrix.{key}": value for key, value in told.items()}
        assert keys == (expected if more else {})
    assert errors[0] < 0.9 * errors[1]


def test_a_matrix_of_another_model_is_refused_before_anything_is_made(
    source: Path, tmp_path: Path
) -> None:
    one = np.ones((1, 4), np.float32)
    Imatrix({"blk.9.x.weight": one}, {"blk.9.x.weight": one[0, :1]}).save(tmp_path / "i.gguf")
    done = run(source, "--types", "Q4_0", "-o", tmp_path / "new", "--imatrix", tmp_path / "i.gguf")
    assert isinstance(done.exception, ModelError) and "another model" in str(done.exception)
    wide = {"blk.0.attn_q.weight": one}
    Imatrix(wide, {"blk.0.attn_q.weight": one[0, :1]}).save(tmp_path / "i.gguf")
    done = run(source, "--types", "Q4_0", "-o", tmp_path / "new", "--imatrix", tmp_path / "i.gguf")
    assert isinstance(done.exception, ModelError) and "imatrix size" in str(done.exception)
    assert list((tmp_path / "new").glob("*")) == []
    done = run(source, "--types", "Q4_0", "-o", tmp_path / "new", "--imatrix", source)
    assert isinstance(done.exception, ModelError) and "no importance" in str(done.exception)


def test_types_that_need_a_matrix_are_made_with_one(
    local_model: LocalModel, tmp_path: Path
) -> None:
    """Gathered from one clip of speech by the default model."""
    data = Path(__file__).parents[2] / "data" / "manifest.jsonl"
    command = ["imatrix", "--data", str(data), "--limit", "2", "-o", str(tmp_path / "i.gguf")]
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 0, done.exception
    found = read_imatrix(tmp_path / "i.gguf")
    header = read_header(local_model.gguf_path)
    assert len(found.sums) == 7 * header.block_count and found.n_chunks == 2
    rows = {int(count[0]) for count in found.counts.values()}
    assert len(rows) == 1 and found.chunk_tokens < rows.pop() < 2 * found.chunk_tokens + 1
    args = ["--types", "IQ2_XXS", "--dry-run", "--json", "--imatrix", tmp_path / "i.gguf"]
    (dry,) = json.loads(run(local_model.gguf_path, *args).stdout)
    assert not dry["needs_imatrix"]
