"""Tiny random models with vocabularies of the two common kinds, and an adapter for one of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np

from . import tiny

# As GPT-2 writes bytes as characters.
_PLAIN = [*range(33, 127), *range(161, 173), *range(174, 256)]
BYTES = [
    chr(byte if byte in _PLAIN else 256 + sum(b not in _PLAIN for b in range(byte)))
    for byte in range(256)
]
MARKERS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def write(
    path: Path,
    kind: str,
    also: Callable[[gguf.GGUFWriter], object] = lambda writer: None,
    *,
    n_bytes: int = 256,
) -> Path:
    """`kind`: ARCHITECTURE-bpe, ARCHITECTURE-spm, ARCHITECTURE-none, or adapter (of llama-bpe).

    `also` adds keys of its own; `n_bytes` is how many bytes a vocabulary of the kind spm knows.
    """
    if kind == "adapter":
        return _write_adapter(path)
    arch, _, vocabulary = kind.partition("-")
    if vocabulary == "none":
        return tiny.write(path, arch)
    writer = gguf.GGUFWriter(path, arch)
    writer.add_block_count(tiny.N_LAYER)
    writer.add_context_length(512)
    writer.add_embedding_length(tiny.N_EMBD)
    writer.add_feed_forward_length(tiny.N_FF)
    writer.add_head_count(tiny.N_HEAD)
    writer.add_head_count_kv(tiny.N_KV)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    n_vocab = _add_bpe(writer) if vocabulary == "bpe" else _add_spm(writer, n_bytes)
    also(writer)
    writer.add_vocab_size(n_vocab)
    rng = np.random.default_rng(0)
    for name, shape in tiny._tensors(arch, tiny.N_KV).items():
        shape = (n_vocab, *shape[1:]) if name == "token_embd.weight" else shape
        data = rng.normal(0, 0.2, shape).astype(np.float32)
        writer.add_tensor(name, data + 1 if "norm" in name else data)
    return _close(writer, path)


def _add_bpe(writer: gguf.GGUFWriter) -> int:
    tokens = [*BYTES, "th", "he", "\u0120t", *MARKERS]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * (len(tokens) - 3) + [3] * 3)
    writer.add_token_merges(["t h", "h e", "\u0120 t"])
    writer.add_bos_token_id(len(tokens) - 3)
    writer.add_eos_token_id(len(tokens) - 1)
    writer.add_add_bos_token(False)
    return len(tokens)


def _add_spm(writer: gguf.GGUFWriter, n_bytes: int) -> int:
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(n_bytes))]
    tokens += ["\u2581", "t", "h", "e", "\u2581th", *MARKERS]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * (3 + n_bytes) + [-1.0 - i for i in range(5)] + [0.0] * 3)
    writer.add_token_types([2, 3, 3] + [6] * n_bytes + [1] * 5 + [3] * 3)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    return len(tokens)


def _write_adapter(path: Path) -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 8.0)
    rng = np.random.default_rng(1)
    for layer in range(tiny.N_LAYER):
        for name, out in (("attn_q", tiny.N_EMBD), ("ffn_up", tiny.N_FF)):
            stem = f"blk.{layer}.{name}.weight"
            a = rng.normal(0, 0.1, (4, tiny.N_EMBD)).astype(np.float32)
            b = rng.normal(0, 0.1, (out, 4)).astype(np.float32)
            writer.add_tensor(f"{stem}.lora_a", a)
            writer.add_tensor(f"{stem}.lora_b", b)
    return _close(writer, path)


def _close(writer: gguf.GGUFWriter, path: Path) -> Path:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
