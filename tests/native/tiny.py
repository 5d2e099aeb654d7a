"""Tiny random GGUF models without a vocabulary, to see which architectures are served."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

N_VOCAB, N_EMBD, N_HEAD, N_KV, N_FF, N_LAYER = 64, 64, 4, 2, 96, 2
MLA_RANK, MLA_ROPE = 32, 8


def write(
    path: Path, arch: str, *, n_head_kv: int = N_KV, head_dim: int = N_EMBD // N_HEAD
) -> Path:
    """`arch`: llama, qwen2, qwen3, gemma3 (sliding window), mpt (ALiBi), mamba (recurrent)
    or deepseek2 (MLA)."""
    writer = gguf.GGUFWriter(path, arch)
    writer.add_block_count(N_LAYER)
    writer.add_context_length(512)
    writer.add_embedding_length(N_EMBD)
    writer.add_feed_forward_length(N_FF)
    writer.add_head_count(N_HEAD)
    writer.add_head_count_kv(n_head_kv)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_layer_norm_eps(1e-5)
    writer.add_vocab_size(N_VOCAB)
    writer.add_tokenizer_model("none")
    if head_dim != N_EMBD // N_HEAD:
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
        writer.add_rope_dimension_count(head_dim)
    if arch == "gemma3":
        writer.add_sliding_window(16)
    if arch == "mpt":
        writer.add_max_alibi_bias(8.0)
    if arch == "mamba":
        writer.add_ssm_conv_kernel(4)
        writer.add_ssm_inner_size(2 * N_EMBD)
        writer.add_ssm_state_size(8)
        writer.add_ssm_time_step_rank(4)
    if arch == "deepseek2":
        writer.add_leading_dense_block_count(N_LAYER)
        writer.add_q_lora_rank(16)
        writer.add_kv_lora_rank(MLA_RANK)
        writer.add_key_length(MLA_RANK + MLA_ROPE)
        writer.add_value_length(MLA_RANK)
        writer.add_key_length_mla(16 + MLA_ROPE)
        writer.add_value_length_mla(16)
        writer.add_rope_dimension_count(MLA_ROPE)
        writer.add_expert_feed_forward_length(N_FF)
        writer.add_expert_shared_count(0)
    rng = np.random.default_rng(0)
    for name, shape in _tensors(arch, n_head_kv, head_dim).items():
        data = rng.normal(0, 0.2, shape).astype(np.float32)
        writer.add_tensor(name, data + 1 if "norm" in name else data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _tensors(arch: str, n_head_kv: int, d: int = N_EMBD // N_HEAD) -> dict[str, tuple[int, ...]]:
    kv = d * n_head_kv
    tensors: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (N_VOCAB, N_EMBD),
        "output_norm.weight": (N_EMBD,),
    }
    for i in range(N_LAYER):
        block = f"blk.{i}."
        layer: dict[str, tuple[int, ...]] = {"attn_norm.weight": (N_EMBD,)}
        if arch == "mamba":
            inner, state, rank = 2 * N_EMBD, 8, 4
            layer |= {
                "ssm_in.weight": (2 * inner, N_EMBD),
                "ssm_conv1d.weight": (inner, 4),
                "ssm_conv1d.bias": (inner,),
                "ssm_x.weight": (rank + 2 * state, inner),
                "ssm_dt.weight": (inner, rank),
                "ssm_dt.bias": (inner,),
                "ssm_a": (inner, state),
                "ssm_d": (inner,),
                "ssm_out.weight": (N_EMBD, inner),
            }
        elif arch == "deepseek2":
            layer |= {
                "attn_q_a.weight": (16, N_EMBD),
                "attn_q_a_norm.weight": (16,),
                "attn_q_b.weight": (N_HEAD * (16 + MLA_ROPE), 16),
                "attn_kv_a_mqa.weight": (MLA_RANK + MLA_ROPE, N_EMBD),
                "attn_kv_a_norm.weight": (MLA_RANK,),
                "attn_k_b.weight": (N_HEAD, MLA_RANK, 16),
                "attn_v_b.weight": (N_HEAD, 16, MLA_RANK),
                "attn_output.weight": (N_EMBD, N_HEAD * 16),
                "ffn_norm.weight": (N_EMBD,),
                "ffn_gate.weight": (N_FF, N_EMBD),
                "ffn_up.weight": (N_FF, N_EMBD),
                "ffn_down.weight": (N_EMBD, N_FF),
            }
        elif arch == "mpt":
            layer |= {
                "attn_qkv.weight": (N_EMBD + 2 * kv, N_EMBD),
                "attn_output.weight": (N_EMBD, N_EMBD),
                "ffn_norm.weight": (N_EMBD,),
                "ffn_up.weight": (N_FF, N_EMBD),
                "ffn_down.weight": (N_EMBD, N_FF),
            }
        else:
            layer |= {
                "attn_q.weight": (N_HEAD * d, N_EMBD),
                "attn_k.weight": (kv, N_EMBD),
                "attn_v.weight": (kv, N_EMBD),
                "attn_output.weight": (N_EMBD, N_HEAD * d),
                "ffn_norm.weight": (N_EMBD,),
                "ffn_gate.weight": (N_FF, N_EMBD),
                "ffn_up.weight": (N_FF, N_EMBD),
                "ffn_down.weight": (N_EMBD, N_FF),
            }
        if arch == "qwen2":
            layer |= {"attn_q.bias": (N_EMBD,), "attn_k.bias": (kv,), "attn_v.bias": (kv,)}
        if arch in ("qwen3", "gemma3"):
            layer |= {"attn_q_norm.weight": (d,), "attn_k_norm.weight": (d,)}
        if arch == "gemma3":
            layer |= {
                "post_attention_norm.weight": (N_EMBD,),
                "post_ffw_norm.weight": (N_EMBD,),
            }
        tensors |= {block + name: shape for name, shape in layer.items()}
    return tensors
