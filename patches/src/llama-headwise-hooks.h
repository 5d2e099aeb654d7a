// Why:  the four places in llama.cpp that must know of the head-wise cache include this and nothing else.
// What: each function answers "not mine" (null, zero) for every context that is not head-wise.
// Test: tests/native/test_parity.py runs both kinds of context from one library.
#pragma once

#include <cstdint>

struct ggml_tensor;
struct llama_cparams;
struct llama_memory_i;
struct llama_memory_params;
struct llama_model;
struct llm_graph_context;

class llm_graph_input_attn_kv;

llama_memory_i * llama_headwise_create_memory(
        const llama_model & model, const llama_memory_params & params, const llama_cparams & cparams);

llm_graph_input_attn_kv * llama_headwise_build_inp(const llm_graph_context & graph);

ggml_tensor * llama_headwise_build_attn(
        const llm_graph_context & graph, llm_graph_input_attn_kv * inp,
        ggml_tensor * q, ggml_tensor * k, ggml_tensor * v, ggml_tensor * kq_b, ggml_tensor * sinks,
        float kq_scale, int il);

uint32_t llama_headwise_graph_nodes(const llama_memory_i * memory);
