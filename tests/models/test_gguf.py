"""The GGUF header reader: what it reads, and that nothing in a file can hurt it."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_audiokv.errors import ModelError
from edge_audiokv.models.gguf import MAX_KEYS, read_header

LORA = Path(__file__).resolve().parents[2] / "models" / "smollm2-audio" / "lora.gguf"


def write_gguf(
    path: Path,
    *,
    kv_heads: int | list[int] = 3,
    feed_widths: list[int] | None = None,
    tokens: int = 2000,
    norm: type = np.float32,
) -> Path:
    """A tiny file from the reference writer."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(2)
    writer.add_embedding_length(36)
    writer.add_context_length(512)
    writer.add_head_count(9)
    writer.add_head_count_kv(kv_heads)
    if feed_widths is not None:
        writer.add_feed_forward_length(feed_widths)
    writer.add_rope_freq_base(1e5)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_token_list([f"token {i}" for i in range(tokens)])
    writer.add_token_types([1] * tokens)
    writer.add_tensor("token_embd.weight", np.ones((4, 36), np.float32))
    writer.add_tensor("output_norm.weight", np.ones(36, norm))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize(
    ("stated", "named"),
    [
        (gguf.LlamaFileType.MOSTLY_Q8_0, "q8_0"),
        (gguf.LlamaFileType.MOSTLY_Q4_K_M, "q4_k_m"),
        (gguf.LlamaFileType.ALL_F32, "f32"),
        (9999, None),
        ("many", None),
    ],
)
def test_it_tells_what_the_weights_are_kept_in(tiny: Path, stated, named) -> None:
    header = read_header(tiny)
    assert header.quantisation is None
    assert replace(header, keys={**header.keys, "general.file_type": stated}).quantisation == named


def raw_gguf(*, version: int = 3, tensors: int = 0, keys: int = 0, rest: bytes = b"") -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, keys) + rest


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


def test_it_reads_what_the_reference_writer_wrote(tiny: Path) -> None:
    header = read_header(tiny)
    assert (header.architecture, header.block_count, header.tensor_count) == ("llama", 2, 2)
    assert (header.n_head, header.n_head_kv, header.head_dim) == (9, 3, 4)
    # It states no width of feed-forward networks: the usual one is taken.
    assert (header.d_model, header.context_length, header.feed_width) == (36, 512, 144)
    assert header.keys["llama.rope.freq_base"] == pytest.approx(1e5)
    assert not any(key.startswith("tokenizer.ggml.token") for key in header.keys)
    assert header.file_bytes == tiny.stat().st_size and not header.is_adapter


def patched(source: Path, target: Path, name: str, value: bytes) -> Path:
    """A copy with `value` where the value of key `name` stands."""
    data = bytearray(source.read_bytes())
    at = data.index(name.encode()) + len(name) + 4
    data[at : at + len(value)] = value
    target.write_bytes(data)
    return target


@pytest.mark.parametrize("layers", [0, 513, 0x7FFFFFFF, 0xFFFFFFFF])
def test_layers_on_which_llama_cpp_ends_the_process(tiny: Path, tmp_path: Path, layers) -> None:
    value = struct.pack("<I", layers)
    with pytest.raises(ModelError, match=f"{layers} layers"):
        read_header(patched(tiny, tmp_path / "odd.gguf", "llama.block_count", value))


@pytest.mark.parametrize("epsilon", [-1.0, float("nan"), float("inf"), 1e30])
def test_norms_on_which_llama_cpp_ends_the_process(tiny: Path, tmp_path: Path, epsilon) -> None:
    name = "llama.attention.layer_norm_rms_epsilon"
    path = patched(tiny, tmp_path / "odd.gguf", name, struct.pack("<f", epsilon))
    with pytest.raises(ModelError, match="epsilon"):
        read_header(path)


def test_vectors_that_are_not_f32(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "a.gguf", norm=np.float16)
    with pytest.raises(ModelError, match=r"output_norm.weight .* not f32"):
        read_header(path)


@pytest.mark.parametrize(
    ("token", "is_told"),
    [(b"token 1", True), (b"token 1\0x", True), (b"\0oken 12", False), (b"", False)],
)
def test_a_token_twice_is_told(tmp_path: Path, token: bytes, is_told: bool) -> None:
    names = [b"token 1", b"token 2", token, b"\0 other"]
    listed = b"".join(struct.pack("<Q", len(name)) + name for name in names)
    key = b"tokenizer.ggml.tokens"
    rest = struct.pack("<Q", len(key)) + key + struct.pack("<IIQ", 9, 8, len(names)) + listed
    path = tmp_path / "a.gguf"
    path.write_bytes(raw_gguf(keys=1, rest=rest))
    read_header(path)
    if not is_told:
        read_header(path, check_tokens=True)
        return
    with pytest.raises(ModelError, match="a token twice"):
        read_header(path, check_tokens=True)


def test_a_vocabulary_of_numbers_is_told(tmp_path: Path) -> None:
    key = b"tokenizer.ggml.tokens"
    path = tmp_path / "a.gguf"
    path.write_bytes(
        raw_gguf(keys=1, rest=struct.pack("<Q", len(key)) + key + struct.pack("<II", 4, 7))
    )
    with pytest.raises(ModelError, match="no list of texts"):
        read_header(path, check_tokens=True)


def test_layers_may_differ(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "a.gguf", kv_heads=[1, 3], feed_widths=[96, 64])
    header = read_header(path)
    assert (header.n_head_kv, header.feed_width) == (3, 96)


def test_the_shipped_adapter_is_one() -> None:
    header = read_header(LORA)
    assert header.is_adapter and header.tensor_count == 420
    with pytest.raises(ModelError, match="block_count"):
        _ = header.block_count


def test_the_hash_names_the_model_and_not_the_path(tiny: Path, tmp_path: Path) -> None:
    copy = tmp_path / "other.gguf"
    copy.write_bytes(tiny.read_bytes())
    assert read_header(copy).model_hash == read_header(tiny).model_hash
    changed = write_gguf(tmp_path / "changed.gguf", kv_heads=1)
    assert read_header(changed).model_hash != read_header(tiny).model_hash


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GGU",
        b"PK\x03\x04 a zip, not a model",
        b"GGUF",
        raw_gguf(version=1),
        raw_gguf(version=1 << 24),
        raw_gguf(keys=MAX_KEYS + 1),
        raw_gguf(tensors=2**63),
        raw_gguf(keys=1),
        raw_gguf(keys=1, rest=struct.pack("<Q", 2**62)),
        raw_gguf(keys=1, rest=struct.pack("<Q1sI", 1, b"k", 99)),
        raw_gguf(keys=1, rest=struct.pack("<Q1sIIQ", 1, b"k", 9, 8, 2**60)),
        raw_gguf(keys=1, rest=struct.pack("<Q1sIIQ", 1, b"k", 9, 4, 2**60)),
        raw_gguf(keys=1, rest=struct.pack("<Q1sIIQ", 1, b"k", 9, 9, 1)),
        raw_gguf(keys=1, rest=struct.pack("<Q1sIIQQ", 1, b"k", 9, 8, 1, 2**63)),
        raw_gguf(tensors=1, rest=struct.pack("<Q1sI", 1, b"t", 2**31)),
        raw_gguf(tensors=1, rest=struct.pack("<Q1sIQIQ", 1, b"t", 1, 8, 0, 2**40)),
    ],
)
def test_damaged_and_foreign_files_are_told_in_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(data)
    with pytest.raises(ModelError) as caught:
        read_header(path)
    assert "bad.gguf" in str(caught.value) and "\n" not in str(caught.value)


def test_missing_files_and_directories_are_told(tmp_path: Path) -> None:
    for path in (tmp_path / "none.gguf", tmp_path):
        with pytest.raises(ModelError, match="Cannot read"):
            read_header(path)


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True))
def test_any_truncation_is_noticed(tiny: Path, tmp_path: Path, share: float) -> None:
    # Only the last tensor's own bytes and their padding are left to the loader to check.
    data = tiny.read_bytes()[: -(36 * 4 + 64)]
    path = tmp_path / "cut.gguf"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ModelError):
        read_header(path)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=6))
def test_changed_bytes_raise_nothing_but_model_errors(
    tiny: Path, tmp_path: Path, flips: list[tuple[int, int]]
) -> None:
    data = bytearray(tiny.read_bytes())
    for at, value in flips:
        data[at % len(data)] = value
    path = tmp_path / "fuzz.gguf"
    path.write_bytes(data)
    try:
        header = read_header(path)
        _ = (header.architecture, header.n_head_kv, header.head_dim, header.model_hash)
    except ModelError:
        pass


@given(data=st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_headers_raise_nothing_but_model_errors(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "random.gguf"
    path.write_bytes(raw_gguf(tensors=2, keys=3, rest=data))
    with pytest.raises(ModelError):
        _ = read_header(path).architecture
