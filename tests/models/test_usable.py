"""What is known to end a process is refused by our reader, and a person reads why."""

from __future__ import annotations

from pathlib import Path

import gguf
import pytest

from edge_audiokv.errors import ModelError
from edge_audiokv.models.gguf import read_header
from edge_audiokv.models.usable import check_usable
from tests.native import vocabularies


def check(path: Path) -> None:
    check_usable(read_header(path, check_tokens=True))


@pytest.mark.parametrize("kind", ["llama-bpe", "llama-spm", "qwen2-bpe", "qwen3-bpe", "adapter"])
def test_sound_files_are_usable(tmp_path: Path, kind: str) -> None:
    check(vocabularies.write(tmp_path / "model.gguf", kind))


@pytest.mark.parametrize(
    ("kind", "there", "used", "is_usable"),
    [
        ("llama-bpe", None, 2, False),
        ("llama-bpe", 4, None, False),
        ("llama-bpe", 2, 4, False),
        ("llama-bpe", 513, 1, False),
        ("llama-bpe", 4, 2, True),
        ("llama-bpe", 4, 4, True),
        ("llama-bpe", 0, 0, True),
    ],
)
def test_experts(tmp_path: Path, kind: str, there, used, is_usable: bool) -> None:
    def also(writer: gguf.GGUFWriter) -> None:
        if there is not None:
            writer.add_expert_count(there)
        if used is not None:
            writer.add_expert_used_count(used)

    path = vocabularies.write(tmp_path / "model.gguf", kind, also)
    if is_usable:
        check(path)
    else:
        with pytest.raises(ModelError, match="experts"):
            check(path)


@pytest.mark.parametrize("arch", ["qwen2", "qwen3"])
def test_a_rotation_of_another_size_than_the_heads(tmp_path: Path, arch: str) -> None:
    path = tmp_path / "model.gguf"
    head_dim = read_header(vocabularies.write(path, f"{arch}-bpe")).head_dim
    check(vocabularies.write(path, f"{arch}-bpe", lambda w: w.add_rope_dimension_count(head_dim)))
    vocabularies.write(path, f"{arch}-bpe", lambda w: w.add_rope_dimension_count(head_dim // 2))
    with pytest.raises(ModelError, match="dimension_count"):
        check(path)


@pytest.mark.parametrize(("n_bytes", "missing"), [(0, 239), (65, 175), (255, 0)])
def test_a_vocabulary_that_lacks_bytes(tmp_path: Path, n_bytes: int, missing: int) -> None:
    path = vocabularies.write(tmp_path / "model.gguf", "llama-spm", n_bytes=n_bytes)
    assert read_header(path).missing_bytes == 0  # not looked for
    if missing:
        with pytest.raises(ModelError, match=f"lacks {missing} bytes"):
            check(path)
    else:
        check(path)


def test_no_vocabulary(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no vocabulary"):
        check(vocabularies.write(tmp_path / "model.gguf", "llama-none"))


@pytest.mark.parametrize(
    ("kind", "n_tokens", "key", "token", "is_usable"),
    [
        ("bert", 50, "sep", None, False),
        ("bert", 103, "sep", None, True),
        ("bert", 50, "sep", 49, True),
        ("bert", 50, "sep", 50, False),
        ("gpt2", 11, "bos", None, False),
        ("gpt2", 12, "bos", None, True),
        ("gpt2", 11, "bos", 10, True),
        ("gpt2", 11, "bos", 11, False),
    ],
)
def test_tokens_that_are_added_must_be_there(
    tmp_path: Path, kind: str, n_tokens: int, key: str, token: int | None, is_usable: bool
) -> None:
    path = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_tokenizer_model(kind)
    writer.add_token_list([f"token {i}" for i in range(n_tokens)])
    writer.add_bool(f"tokenizer.ggml.add_{key}_token", True)
    if token is not None:
        name = {"sep": "seperator", "bos": "bos"}[key]
        writer.add_uint32(f"tokenizer.ggml.{name}_token_id", token)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    if is_usable:
        check(path)
    else:
        with pytest.raises(ModelError, match="no such token"):
            check(path)
