// Why:  capacities, levels and offsets are arithmetic that needs no tensor, and must be known before allocation.
// What: per-head capacities rounded up to rows that align and to a few levels at the least total cost.
// Test: tests/native/test_layout.py
#pragma once

#include "llama-headwise.h"

#include "ggml.h"

#include <cstdint>
#include <string>
#include <vector>

struct llama_hw_layout_t {
    int32_t n_layer   = 0;
    int32_t n_head_kv = 0;
    int32_t n_group   = 0;
    int32_t head_dim  = 0;

    ggml_type type_k = GGML_TYPE_F16;
    ggml_type type_v = GGML_TYPE_F16;

    int32_t score_window = 0;

    std::vector<int32_t> capacity;   // [L, H]
    std::vector<int32_t> level;      // [L, H]
    std::vector<int64_t> offset;     // [L, H] first row in the layer's pool
    std::vector<int64_t> layer_rows; // [L]
    std::vector<int32_t> level_capacity;

    int32_t  n_level() const { return (int32_t) level_capacity.size(); }
    int32_t  n_head()  const { return n_layer*n_head_kv; }
    size_t   at(int32_t layer, int32_t head) const { return (size_t) layer*n_head_kv + head; }
    uint64_t n_rows() const;
    llama_hw_bytes bytes() const;
};

// Leave a message for llama_hw_last_error() and return the code.
int32_t llama_hw_fail(int32_t code, const std::string & message);

// The shape of a model that can be served; LLAMA_HW_UNSUPPORTED with the reason if it cannot.
int32_t llama_hw_check_model(const llama_model & model, llama_hw_layout_t & layout);

// Fill a checked layout. row_align is the multiple that capacities are rounded up to.
int32_t llama_hw_make_layout(
        llama_hw_layout_t & layout, const llama_hw_params & params, ggml_type type_k, ggml_type type_v, int32_t row_align);

// 64 rows start every head on 256 bytes for all row types; 256 keep CUDA's fast kernels usable to the last row.
int32_t llama_hw_row_align(const llama_model & model, bool offload_kqv);
