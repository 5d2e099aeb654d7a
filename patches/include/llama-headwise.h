// Why:  the head-wise KV cache needs a handful of calls that llama.h does not have.
// What: its whole C interface. Every function returns a code or a count and leaves a message for
//       llama_hw_last_error(); none of them aborts on bad input.
// Test: tests/native/test_context.py, tests/native/test_errors.py
//
// Shapes: L layers, H KV heads a layer, T rows of a head, D head dimension. [L, H] arrays are row-major.
// Rows of a head are in order of position; new rows go to its end.
// Levels: all heads of one level have the same capacity and always hold the same number of rows.
#pragma once

#include "llama.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// raised when a signature or a meaning below changes; bindings refuse another number
#define LLAMA_HW_ABI   1
// raised with every change of the sources or the hooks
#define LLAMA_HW_PATCH 12

#define LLAMA_HW_MAX_LEVELS 16

enum llama_hw_code {
    LLAMA_HW_OK              =  0,
    LLAMA_HW_BAD_ARGUMENT    = -1, // a null pointer, a wrong size, a number that makes no sense
    LLAMA_HW_UNSUPPORTED     = -2, // the model or the row type cannot be served
    LLAMA_HW_NOT_HEADWISE    = -3, // the context was not made by llama_hw_init_from_model
    LLAMA_HW_OUT_OF_RANGE    = -4, // a layer, head, row or position that does not exist
    LLAMA_HW_NOT_ASCENDING   = -5, // rows of a head must ascend strictly
    LLAMA_HW_UNEQUAL         = -6, // heads of one level would hold different numbers of rows
    LLAMA_HW_NO_MEMORY       = -7,
    LLAMA_HW_COMPUTE_FAILED  = -8,
};

struct llama_hw_params {
    const int32_t * capacity;     // [L, H] rows wanted per head
    int32_t         n_capacity;   // L*H
    int32_t         max_levels;   // 1..LLAMA_HW_MAX_LEVELS
    int32_t         score_window; // most query positions a scored batch averages over; 0: no scores, no memory for them
};

struct llama_hw_shape {
    int32_t n_layer;
    int32_t n_head_kv;
    int32_t n_group;  // query heads per KV head
    int32_t head_dim;
};

struct llama_hw_bytes {
    uint64_t pools;     // K and V rows
    uint64_t scores;
    uint64_t positions;
    uint64_t compute;   // reserved for the worst graph
};

// The ABI number; patch level and upstream release by pointer (either may be null).
LLAMA_API int32_t llama_hw_version(int32_t * patch_level, const char ** upstream);

// The message of this thread's last failed call; never null.
LLAMA_API const char * llama_hw_last_error(void);

// Can this model be served? LLAMA_HW_OK fills shape, LLAMA_HW_UNSUPPORTED leaves the reason.
LLAMA_API int32_t llama_hw_model_shape(const struct llama_model * model, struct llama_hw_shape * shape);

// What llama_hw_init_from_model would allocate: capacities rounded up to levels, each head's level (0 = smallest
// capacity), and bytes (compute is left 0). capacity and level are [L, H]; any of the three may be null.
LLAMA_API int32_t llama_hw_plan(
        const struct llama_model          * model,
              struct llama_context_params   cparams,
        const struct llama_hw_params      * params,
              int32_t                     * capacity,
              int32_t                     * level,
              struct llama_hw_bytes       * bytes);

// A context with a head-wise cache, or null. One sequence; flash attention is forced on. llama_decode refuses batches
// whose positions do not ascend strictly from llama_hw_next_position on.
LLAMA_API struct llama_context * llama_hw_init_from_model(
              struct llama_model          * model,
              struct llama_context_params   cparams,
        const struct llama_hw_params      * params);

// Reserve the largest graph again after adapters were set, so that decoding allocates nothing.
LLAMA_API int32_t llama_hw_reserve(struct llama_context * ctx);

// [L, H] each; any pointer may be null.
LLAMA_API int32_t llama_hw_layout(const struct llama_context * ctx, int32_t * capacity, int32_t * level, int32_t * count);
LLAMA_API int32_t llama_hw_bytes_of(const struct llama_context * ctx, struct llama_hw_bytes * bytes);
// Bytes in buffers that the host cannot touch: weights, and what the context allocated for itself.
LLAMA_API int32_t llama_hw_model_device_bytes(const struct llama_model * model, uint64_t * bytes);
LLAMA_API int32_t llama_hw_device_bytes(const struct llama_context * ctx, uint64_t * bytes);

// Rows that every head can still take.
LLAMA_API int32_t llama_hw_free_rows(const struct llama_context * ctx);
// Position of the next token.
LLAMA_API int32_t llama_hw_next_position(const struct llama_context * ctx, int32_t * position);

// Score the last n_query tokens of the last micro-batch of every following decode; 0 turns it off.
LLAMA_API int32_t llama_hw_set_score_window(struct llama_context * ctx, int32_t n_query);
// Mean attention probability of each row over those queries and the query group, [L, H, T], 0 where there is none.
LLAMA_API int32_t llama_hw_get_scores(struct llama_context * ctx, float * scores, int32_t n_row);
// Position of each row, [L, H, T], -1 beyond a head's end.
LLAMA_API int32_t llama_hw_get_positions(const struct llama_context * ctx, int32_t * positions, int32_t n_row);

// Keep these rows and drop the others. count is [L, H], rows the concatenation of count[l][h] ascending rows.
LLAMA_API int32_t llama_hw_keep(struct llama_context * ctx, const int32_t * count, const int32_t * rows, int64_t n_rows);
// Drop every row at `position` (from 0) or later; where nothing lies that far, nothing changes.
LLAMA_API int32_t llama_hw_truncate(struct llama_context * ctx, int32_t position);
// Add delta to all positions from from_position on, turning the keys with them. Refused if a position would fall below
// 0, or if rows before from_position would no longer lie before the ones that move and before the next token.
LLAMA_API int32_t llama_hw_shift(struct llama_context * ctx, int32_t delta, int32_t from_position);
// Give every row a position of its own, turning its key: positions is the concatenation of each head's, ascending and
// below next_position, which the next token gets. It is at most the trained context, or what it was if that is more.
LLAMA_API int32_t llama_hw_move(
        struct llama_context * ctx, const int32_t * positions, int64_t n_positions, int32_t next_position);
// Copy all rows of src to the ends of dst's heads, as they are: shift src first so that its positions come after dst's.
// Both are of one model, with the same row types. src keeps its rows; dst is unchanged if this fails.
LLAMA_API int32_t llama_hw_append_rows(struct llama_context * dst, struct llama_context * src);

// Would llama_state_seq_set_data take this state? Checks all of it, rows too, and changes nothing: one that is refused
// halfway there leaves an empty cache.
LLAMA_API int32_t llama_hw_check_state(const struct llama_context * ctx, const uint8_t * data, size_t size);

// All rows of one head as [T, D] floats, in the model's own basis (keys with their rotary position).
LLAMA_API int32_t llama_hw_read_keys  (struct llama_context * ctx, int32_t layer, int32_t head, float * data);
LLAMA_API int32_t llama_hw_read_values(struct llama_context * ctx, int32_t layer, int32_t head, float * data);
// Overwrite n_rows value rows of one head, data is [n_rows, D]. Refused if a value is not finite as the row type.
LLAMA_API int32_t llama_hw_write_values(
        struct llama_context * ctx, int32_t layer, int32_t head, const int32_t * rows, int32_t n_rows, const float * data);

#ifdef __cplusplus
}
#endif
