"""Tiny random GGUF models without a vocabulary, to see which architectures are served."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

N_VOCAB, N_EMBD, N_HEAD, N_KV, N_FF, N_LAYER = 64, 64, 4, 2, 96, 2
N_CONTEXT = 512
MLA_RANK, MLA_ROPE = 32, 8


def write(
    path: Path,
    arch: str,
    *,
    n_head: int = N_HEAD,
    n_head_kv: int = N_KV,
    head_dim: int | None = None,
    n_layer: int = N_LAYER,
    yarn: float = 1.0,
    copies: int = 1,
) -> Path:
    """`arch`: llama, qwen2, qwen2vl (M-RoPE), qwen3, gemma3 (sliding window), mpt (ALiBi), mamba
    (recurrent) or deepseek2 (MLA). `yarn` stretches the positions by a factor. Each of `n_head_kv`
    drawn key-value heads is written so many `copies` in a row: the model computes the same."""
    d = N_EMBD // n_head if head_dim is None else head_dim
    writer = gguf.GGUFWriter(path, arch)
    writer.add_block_count(n_layer)
    writer.add_context_length(N_CONTEXT)
    writer.add_embedding_length(N_EMBD)
    writer.add_feed_forward_length(N_FF)
    writer.add_head_count(n_head)
    writer.add_head_count_kv(n_head_kv * copies)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_layer_norm_eps(1e-5)
    writer.add_vocab_size(N_VOCAB)
    writer.add_tokenizer_model("none")
    if d != N_EMBD // n_head:
        writer.add_key_length(d)
        writer.add_value_length(d)
        writer.add_rope_dimension_count(d)
    if yarn != 1.0:
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(yarn)
        writer.add_rope_scaling_orig_ctx_len(int(N_CONTEXT / yarn))
    if arch == "qwen2vl":
        writer.add_rope_dimension_sections([d // 8, d // 8, d // 4, 0])
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
    for name, shape in _tensors(arch, n_head_kv, d, n_layer, n_head).items():
        data = rng.normal(0, 0.2, shape).astype(np.float32)
        if name.endswith(("attn_k.weight", "attn_v.weight")):
            data = np.repeat(data.reshape(n_head_kv, d, -1), copies, axis=0).reshape(-1, shape[1])
        writer.add_tensor(name, data + 1 if "norm" in name else data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _tensors(
    arch: str,
    n_head_kv: int,
    d: int = N_EMBD // N_HEAD,
    n_layer: int = N_LAYER,
    n_head: int = N_HEAD,
) -> dict[str, tuple[int, ...]]:
    kv = d * n_head_kv
    tensors: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (N_VOCAB, N_EMBD),
        "output_norm.weight": (N_EMBD,),
    }
    for i in range(n_layer):
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
                "attn_q_b.weight": (n_head * (16 + MLA_ROPE), 16),
                "attn_kv_a_mqa.weight": (MLA_RANK + MLA_ROPE, N_EMBD),
                "attn_kv_a_norm.weight": (MLA_RANK,),
                "attn_k_b.weight": (n_head, MLA_RANK, 16),
                "attn_v_b.weight": (n_head, 16, MLA_RANK),
                "attn_output.weight": (N_EMBD, n_head * 16),
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
                "attn_q.weight": (n_head * d, N_EMBD),
                "attn_k.weight": (kv, N_EMBD),
                "attn_v.weight": (kv, N_EMBD),
                "attn_output.weight": (N_EMBD, n_head * d),
                "ffn_norm.weight": (N_EMBD,),
                "ffn_gate.weight": (N_FF, N_EMBD),
                "ffn_up.weight": (N_FF, N_EMBD),
                "ffn_down.weight": (N_EMBD, N_FF),
            }
        if arch in ("qwen2", "qwen2vl"):
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
